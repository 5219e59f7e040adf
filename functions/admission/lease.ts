/** Admission and settlement as the edge sees them. */
import { after } from "../clock.ts";
import type { End, Run } from "../dispatch/run.ts";
import { notAvailable } from "../errors.ts";
import { least, type Nanodollars, price } from "../money.ts";
import type { Admission, AdmitQuery, Holder } from "./holder.ts";

/** An object that errs refuses: it never admits. What it may have reserved before it erred expires by itself. */
export async function admit(holder: Holder, query: AdmitQuery): Promise<Admission> {
  try {
    return await holder.admit(query);
  } catch (error) {
    console.error(`${query.requestId}: admission failed: ${error}`);
    return {
      ok: false,
      error: notAvailable("The account cannot be reached at the moment. Nothing was charged."),
    };
  }
}

const SETTLE_PAUSES_MS = [0, 100, 1_000];

/**
 * Posts what the request cost and returns that. When the holder cannot be reached, the reservation stays open and
 * its expiry posts the same from the backend's count; the client is told what it will be.
 */
export async function settle(run: Run, end: End): Promise<Nanodollars> {
  run.over(end);
  run.trace.ended(Date.now(), end.ending);
  const last = run.attempts.at(-1);
  const trace = run.trace.record();
  const cost = least(price(end.usage, run.price), run.admitted.held);
  for (const pause of SETTLE_PAUSES_MS) {
    await after(pause);
    try {
      const receipt = await run.holder.settle({
        requestId: run.requestId,
        leaseId: run.admitted.leaseId,
        epoch: run.admitted.epoch,
        ending: end.ending,
        finishReason: end.finishReasons[0] ?? null,
        usage: end.usage,
        backend: last?.backend ?? run.predicted.id,
        region: last?.region ?? run.predicted.region,
        attempts: run.attempts,
        ttftMs: run.ttftMs,
        durationMs: Date.now() - run.startedAt,
        trace,
        // A stream's tokens go out as they come; a whole answer goes out at its end or not at all.
        delivered: end.ending === "finished" || (run.request.stream && run.ttftMs !== null),
      });
      // Where the expiry was quicker, what it posted stands.
      return receipt.cost;
    } catch (error) {
      console.error(`${run.requestId}: the settlement was not taken, again: ${error}`);
    }
  }
  return cost;
}
