/**
 * The relay: the backend's bytes go to the client natively, with no JavaScript a chunk. The count comes beside the
 * stream, as the attempt's report; a lost report is a death without a count.
 */
import { SECOND_MS, within } from "../clock.ts";
import { NO_USAGE } from "../money.ts";
import { stopped } from "./ending.ts";
import { type AttemptReport, askReport } from "./report.ts";
import { type End, FINISH_REASONS, type FinishReason, type Opened, type Run } from "./run.ts";
import type { Wire } from "./wire.ts";

const ASK_MS = 2 * SECOND_MS;
/** The report arrives with the stream's end; this long it may be late. */
const REPORT_MS = 5 * SECOND_MS;

export async function relay(run: Run, wire: Wire, opened: Extract<Opened, { kind: "relay" }>): Promise<End> {
  const whole = await wire.pipe(opened.body);
  if (!whole) {
    // Which side broke? A blank line ends whatever line the backend died in; only a client that left refuses it.
    if (!run.stop.signal.aborted && !(await wire.write("\n\n"))) run.stop.abort("client_left");
    opened.close();
    return stopped(run, (await ask(run, opened, "abort"))?.usage ?? NO_USAGE);
  }
  const report = (await within(REPORT_MS, opened.report)) ?? (await ask(run, opened, "now"));
  if (report?.state !== "done" || !report.usage) return stopped(run, report?.usage ?? NO_USAGE);
  const finishReasons = reasonsOf(report, run.request.n);
  return finishReasons
    ? { ending: "finished", usage: report.usage, finishReasons }
    : stopped(run, report.usage);
}

/** One a choice; undefined: the backend does not say how each ended. */
function reasonsOf({ finishReasons }: AttemptReport, choices: number): FinishReason[] | undefined {
  const reasons = finishReasons.flatMap((said) => FINISH_REASONS.find((reason) => reason === said) ?? []);
  return reasons.length === choices ? reasons : undefined;
}

function ask(
  run: Run,
  { backend, attempt }: Opened,
  how: "now" | "abort",
): Promise<AttemptReport | undefined> {
  return askReport(backend, attempt, run.bound, AbortSignal.timeout(ASK_MS), how);
}
