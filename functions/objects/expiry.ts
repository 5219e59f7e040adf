/**
 * What becomes of a request that nobody settled. The alarm asks the backend for the attempt's count, then takes
 * the last checkpoint, then nothing (billing/README.md). Where the backend could not be asked, it is asked again
 * after 1 minute, 10 minutes and 1 hour; a count that comes late becomes an adjustment.
 */
import { eq } from "drizzle-orm";
import type { AttemptRecord, Settlement } from "../admission/holder.ts";
import { HOUR_MS, MINUTE_MS } from "../clock.ts";
import { inquiries } from "../db/account/schema.ts";
import { type AttemptReport, askReport, hasEnded } from "../dispatch/report.ts";
import type { Env } from "../env.ts";
import { type Backend, loadBackends } from "../fleet/snapshot.ts";
import type { AttemptId } from "../ids.ts";
import { NO_USAGE, type Usage } from "../money.ts";
import { plausible } from "../usage/plausible.ts";
import type { Database, Inquiry, Ledger, Reservation } from "./ledger.ts";

const ASK_MS = 2_000;
const AT_ONCE = 4;
/** What one alarm may spend on asking: the outbox waits behind it, and the platform ends alarms of 15 minutes. */
const ALARM_MS = 20_000;
const RETRY_MS = [MINUTE_MS, 10 * MINUTE_MS, HOUR_MS];

/** Reservations of a holder that died are looked into long before their deadline, this often. */
export const ORPHAN_CHECK_MS = 5_000;

/** When an orphan's attempt was last looked at, and whether it had ended then. */
export type Looks = Map<AttemptId, { readonly at: number; readonly ended: boolean }>;

export interface ExpiryContext {
  readonly env: Env;
  readonly db: Database;
  readonly ledger: Ledger;
  readonly epoch: number;
  readonly looks: Looks;
  /** Settles and corrects the key's window, as a settlement from the edge does. */
  readonly settle: (settlement: Omit<Settlement, "leaseId" | "epoch">) => { posted: boolean };
}

/** Settles what is overdue, and orphans whose attempt has ended. */
export async function expire(context: ExpiryContext, now: number): Promise<void> {
  const { epoch, looks } = context;
  const open = context.ledger.reservations();
  const lookedAt = (row: Reservation) => looks.get(row.attempt)?.at ?? 0;
  const overdue = open.filter((row) => row.deadlineAt <= now).sort((a, b) => a.deadlineAt - b.deadlineAt);
  const orphans = open
    .filter((row) => row.deadlineAt > now && row.epoch < epoch && lookedAt(row) <= now - ORPHAN_CHECK_MS)
    .sort((a, b) => lookedAt(a) - lookedAt(b));
  const attempts = new Set(open.map((row) => row.attempt));
  for (const attempt of looks.keys()) if (!attempts.has(attempt)) looks.delete(attempt);
  if (overdue.length + orphans.length === 0) return;
  const backends = await loadBackends(context.env);
  await each([...overdue, ...orphans], now, (row) => expireOne(context, row, backends.get(row.backend), now));
}

async function expireOne(
  context: ExpiryContext,
  asked: Reservation,
  backend: Backend | undefined,
  now: number,
): Promise<void> {
  const overdue = asked.deadlineAt <= now;
  const report = await ask(backend, asked, overdue ? "abort" : "now");
  // While the backend was asked, the edge may have settled, or failed over to an attempt that was not asked about.
  const row = context.ledger.open(asked.requestId);
  if (row?.attempt !== asked.attempt) return;
  if (!overdue) {
    // The edge that serves it may be alive and about to settle: only an end that was seen twice is an orphan's.
    const ended = report !== undefined && hasEnded(report);
    const before = context.looks.get(row.attempt);
    context.looks.set(row.attempt, { at: now, ended });
    if (!ended || !before?.ended) return;
  }
  const { attempt, backend: id, region } = row;
  const ms = now - row.admittedAt;
  const { posted } = context.settle({
    requestId: row.requestId,
    ending: "expired",
    finishReason: report?.finishReason ?? null,
    usage: report?.usage ?? checkpointOf(row) ?? NO_USAGE,
    backend: id,
    region,
    attempts: [{ id: attempt, backend: id, region, outcome: outcomeOf(report), ms }],
    ttftMs: null,
    durationMs: ms,
    // Never begun, as when the admission's reply was lost on its way to the edge.
    delivered: report?.state !== "unknown",
  });
  if (!posted || report || !backend?.keepsAttempts) return;
  context.db
    .insert(inquiries)
    .values({
      requestId: row.requestId,
      attempt,
      backend: id,
      sequence: context.ledger.last,
      held: row.held,
      inputRate: row.inputRate,
      cachedInputRate: row.cachedInputRate,
      outputRate: row.outputRate,
      maxInput: row.maxInput,
      maxOutput: row.maxOutput,
      tries: 0,
      nextAt: now + RETRY_MS[0]!,
    })
    .run();
}

/** A checkpoint's count, checked as a backend's is: one that has no price would keep its request open for ever. */
function checkpointOf(row: Reservation): Usage | undefined {
  const { counted } = row;
  if (!counted) return undefined;
  const claimed = {
    promptTokens: counted.input + counted.cachedInput,
    cachedTokens: counted.cachedInput,
    completionTokens: counted.output,
    reasoningTokens: counted.reasoning,
  };
  const usage = plausible(claimed, row);
  return usage && { ...usage, source: counted.source };
}

function outcomeOf(report: AttemptReport | undefined): AttemptRecord["outcome"] {
  if (report?.state === "done") return "served";
  return report?.state === "failed" ? "failed" : "aborted";
}

/** Asks again for counts that were not to be had at the settlement. */
export async function inquire(context: ExpiryContext, now: number): Promise<void> {
  const all = context.db.select().from(inquiries).all();
  const due = all.filter((row) => row.nextAt <= now).sort((a, b) => a.nextAt - b.nextAt);
  if (due.length === 0) return;
  const backends = await loadBackends(context.env);
  await each(due, now, (row) => inquireOne(context, row, backends.get(row.backend), now));
}

async function inquireOne(
  context: ExpiryContext,
  row: Inquiry,
  backend: Backend | undefined,
  now: number,
): Promise<void> {
  const report = await ask(backend, row, "abort");
  if (report?.usage) return context.ledger.adjust(row, report.usage, now);
  const tries = row.tries + 1;
  const where = eq(inquiries.requestId, row.requestId);
  const wait = RETRY_MS[tries];
  // A backend that answers and knows no count will not learn one.
  if (report || wait === undefined) context.db.delete(inquiries).where(where).run();
  else
    context.db
      .update(inquiries)
      .set({ tries, nextAt: now + wait })
      .where(where)
      .run();
}

/**
 * A few at a time, until the alarm's time is up; the next alarm begins with those that were left. Each fails by
 * itself: one that cannot be settled must not keep the others' money held.
 */
async function each<T>(
  rows: readonly T[],
  startedAt: number,
  work: (row: T) => Promise<void>,
): Promise<void> {
  const failures: unknown[] = [];
  for (let i = 0; i < rows.length && Date.now() - startedAt < ALARM_MS; i += AT_ONCE) {
    for (const result of await Promise.allSettled(rows.slice(i, i + AT_ONCE).map(work))) {
      if (result.status === "rejected") failures.push(result.reason);
    }
  }
  if (failures.length > 0)
    throw new AggregateError(failures, `${failures.length} failed, the first: ${failures[0]}`);
}

/** When the alarm must ring for this part, or undefined. */
export function nextWake(context: ExpiryContext, now: number): number | undefined {
  const open = context.ledger.reservations();
  const deadlines = open.map((row) =>
    row.epoch < context.epoch
      ? Math.min(row.deadlineAt, (context.looks.get(row.attempt)?.at ?? now) + ORPHAN_CHECK_MS)
      : row.deadlineAt,
  );
  const asks = context.db.select({ at: inquiries.nextAt }).from(inquiries).all();
  const earliest = Math.min(...deadlines, ...asks.map((row) => row.at));
  return Number.isFinite(earliest) ? earliest : undefined;
}

async function ask(
  backend: Backend | undefined,
  row: Pick<Reservation, "attempt" | "maxInput" | "maxOutput">,
  how: "now" | "abort",
): Promise<AttemptReport | undefined> {
  if (!backend?.keepsAttempts) return undefined;
  // Not AbortSignal.timeout: its timer would keep the object awake for the two seconds after each quick answer.
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), ASK_MS);
  try {
    return await askReport(backend, row.attempt, row, late.signal, how);
  } finally {
    clearTimeout(timer);
  }
}
