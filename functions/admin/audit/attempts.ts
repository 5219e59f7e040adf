/** Charges of the last minutes against what the backends themselves remember of the attempts. */
import { SECOND_MS } from "../../clock.ts";
import { askReport, hasEnded } from "../../dispatch/report.ts";
import type { Backend } from "../../fleet/snapshot.ts";
import type { Charged, Charges } from "./charges.ts";
import type { Findings } from "./findings.ts";

/** A Worker waits for the headers of six connections at most. */
const AT_ONCE = 4;
const ASK_MS = 2 * SECOND_MS;
/** The bound of then is not kept. An impossible count was refused when it was settled, and is not `backend` there. */
const NO_BOUND = { maxInput: Number.MAX_SAFE_INTEGER, maxOutput: Number.MAX_SAFE_INTEGER };

export async function compareAttempts(
  backends: ReadonlyMap<string, Backend>,
  charges: Charges,
  findings: Findings,
): Promise<{ checked: number; unverifiable: number }> {
  const tally = { checked: 0, unverifiable: 0 };
  const asked = charges.askable(Date.now());
  for (let i = 0; i < asked.length; i += AT_ONCE) {
    await Promise.all(
      asked.slice(i, i + AT_ONCE).map(async (charged) => {
        const verdict = await compare(backends, charged);
        if (verdict === "none") return;
        if (verdict === "unverifiable") tally.unverifiable += 1;
        else {
          tally.checked += 1;
          if (verdict !== "equal") findings.add("attempt", verdict);
        }
      }),
    );
  }
  return tally;
}

/** `none`: the request's count is not a backend's. Otherwise a verdict, or a sentence about the difference. */
async function compare(backends: ReadonlyMap<string, Backend>, charged: Charged): Promise<string> {
  const { row, tokens, adjusted } = charged;
  const attempt = row.attempts?.findLast(({ outcome }) => outcome === "served" || outcome === "aborted");
  if (row.source !== "backend" || !attempt) return "none";
  const backend = backends.get(attempt.backend);
  if (!backend?.keepsAttempts) return "unverifiable";
  const report = await askReport(backend, attempt.id, NO_BOUND, AbortSignal.timeout(ASK_MS));
  if (!report?.usage || !hasEnded(report)) return "unverifiable";
  const { usage } = report;
  if (
    usage.input === tokens.input &&
    usage.cachedInput === tokens.cachedInput &&
    usage.output === tokens.output
  ) {
    return "equal";
  }
  // An answer that failed without a count costs nothing, whatever a backend says later (billing/README.md).
  const uncounted = tokens.input + tokens.cachedInput + tokens.output === 0;
  if (uncounted && (row.ending === "backend_failed" || row.ending === "deadline")) return "unverifiable";
  // Nobody could be asked when it expired: the rest of its count may still come (objects/expiry.ts).
  const isLess =
    tokens.input <= usage.input && tokens.cachedInput <= usage.cachedInput && tokens.output <= usage.output;
  if (row.ending === "expired" && !adjusted && isLess) return "unverifiable";
  const said = `${usage.input} + ${usage.cachedInput} + ${usage.output}`;
  const charges = `${tokens.input} + ${tokens.cachedInput} + ${tokens.output}`;
  return `${attempt.id} was charged for ${charges} tokens (input, cached, output) and its backend counts ${said}`;
}
