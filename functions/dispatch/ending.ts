/** Endings that are no success, in the words of billing/README.md. */
import { type ApiError, backendFailed, backendTimedOut, framesOf, internal } from "../errors.ts";
import { NO_USAGE, type Usage } from "../money.ts";
import type { End, Run, StopReason } from "./run.ts";

/** No placement gave a first token: nothing was delivered and nothing is charged. */
export function refusalOf(run: Run, error: ApiError): End {
  if (run.stop.signal.aborted) return stopped(run, NO_USAGE);
  const refusedAll = run.attempts.every((attempt) => attempt.outcome === "refused");
  return { ending: refusedAll ? "refused" : "backend_failed", usage: NO_USAGE, finishReasons: [], error };
}

/** The backend's stream broke, or the request was stopped, after tokens were out. */
export function stopped(run: Run, usage: Usage): End {
  const reason = run.stop.signal.reason as StopReason | undefined;
  if (reason === "client_left") return { ending: "client_left", usage, finishReasons: [] };
  if (reason === "deadline") {
    const error = backendTimedOut("The request took longer than its deadline and was stopped.");
    return { ending: "deadline", usage, finishReasons: [], error };
  }
  const error = backendFailed("The backend failed in the middle of the answer. What is above is incomplete.");
  return { ending: "backend_failed", usage, finishReasons: [], error };
}

/** A bug of ours. Nobody pays for it, and nothing of it hangs: the slot and the hold go back as in any ending. */
export function broken(run: Run, error: unknown): End {
  console.error(`${run.requestId}: ${error instanceof Error ? error.name : "error"}: ${framesOf(error)}`);
  return { ending: "backend_failed", usage: NO_USAGE, finishReasons: [], error: internal() };
}
