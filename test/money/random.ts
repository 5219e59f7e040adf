/**
 * Random tests of money: one seed for a run, printed when it begins, since a failure that cannot be repeated is
 * worth little. The bindings CAUSEWAY_FC_SEED and CAUSEWAY_FC_RUNS repeat a run and make it longer; they come from
 * the environment (test/vitest.config.ts), as all that a test in workerd is told from outside.
 */
import { env } from "cloudflare:workers";

const given = env as unknown as { CAUSEWAY_FC_SEED?: string; CAUSEWAY_FC_RUNS?: string };

export interface Run {
  readonly seed: number;
  readonly numRuns: number;
  /** Ends the search for a smaller example, not the runs: those take a small part of it. */
  readonly interruptAfterTimeLimit: number;
}

export function random(test: string, runs: number): Run {
  const seed = Number(given.CAUSEWAY_FC_SEED || crypto.getRandomValues(new Uint32Array(1))[0]! >>> 1);
  const numRuns = Number(given.CAUSEWAY_FC_RUNS || runs);
  console.log(`${test}: ${numRuns} runs, CAUSEWAY_FC_SEED=${seed}`);
  return { seed, numRuns, interruptAfterTimeLimit: Math.max(60_000, numRuns * 3_000) };
}
