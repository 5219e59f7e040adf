/** The place that an attempt has in a pool: what the pool is told of it, and when it is free again. */
import type { Outcome } from "../../router/types.ts";
import type { Speed } from "../fleet/member.ts";
import { canWait } from "../fleet/pools.ts";
import { report } from "../fleet/progress.ts";
import { noteDeath } from "../fleet/quarantine.ts";
import type { End, Run } from "./run.ts";

/** Tells the pool how the present attempt goes; with its end its place is free. */
export function tell(run: Run, outcome: Outcome | undefined, ended: boolean, speed?: Speed): void {
  const { slot } = run;
  if (!slot) return;
  if (ended) run.slot = undefined;
  const { pool, backend, attempt } = slot;
  const progress = { attempt, ended, ...(outcome && { outcome }), ...(speed && { speed }) };
  run.waitUntil(report(run.env, pool, progress, !canWait(pool, backend, outcome)));
}

/** The answer has ended. A stream that its backend broke says so; a client that left says nothing of the backend. */
export function release(run: Run, end: End): void {
  const { slot, attempts } = run;
  const { ending } = end;
  if (!slot) return;
  const backend = attempts.at(-1)?.backend;
  if (backend && ending === "backend_failed" && run.ttftMs !== null) noteDeath(run.ask, backend);
  const failed = backend !== undefined && ending === "backend_failed";
  tell(run, failed ? { backend, kind: "failed" } : undefined, true, speedOf(run, end));
}

/** How fast a whole answer came, by the backend's own count of it. */
function speedOf({ attempts, startedAt, ttftMs }: Run, { ending, usage }: End): Speed | undefined {
  const last = attempts.at(-1);
  if (ending !== "finished" || usage.source !== "backend" || ttftMs === null || !last) return undefined;
  return {
    prefillTokens: usage.input,
    firstTokenMs: last.ms,
    decodeTokens: usage.output - 1,
    decodeMs: Date.now() - (startedAt + ttftMs),
  };
}
