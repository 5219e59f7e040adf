/** The place that an attempt has in a pool: what the pool is told of it, and when it is free again. */
import type { Outcome } from "../../router/types.ts";
import { report } from "../fleet/pools.ts";
import { noteDeath } from "../fleet/quarantine.ts";
import type { End, Run } from "./run.ts";

/** Tells the pool how the present attempt goes; with its end its place is free. */
export function tell(run: Run, outcome: Outcome | undefined, ended: boolean): void {
  const { slot } = run;
  if (!slot) return;
  if (ended) run.slot = undefined;
  run.waitUntil(report(run.env, slot.pool, slot.attempt, outcome, ended));
}

/** The answer has ended. A stream that its backend broke says so; a client that left says nothing of the backend. */
export function release(run: Run, { ending }: End): void {
  const { slot, attempts } = run;
  if (!slot) return;
  const backend = attempts.at(-1)?.backend;
  if (backend && ending === "backend_failed" && run.ttftMs !== null) noteDeath(run.ask, backend);
  tell(run, backend && ending === "backend_failed" ? { backend, kind: "failed" } : undefined, true);
}
