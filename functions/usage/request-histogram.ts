/**
 * GET /v1/requests/histogram: how many requests ended how, over a range, for the bars above their list. Bars of a
 * quarter hour or more come from rollups; shorter ones, and a filter that rollups do not know, from the events
 * themselves, as far back as one answer may look.
 */
import { and, count, desc, eq, gte, lt, min, sql } from "drizzle-orm";
import { type DrizzleD1Database, drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { accountObject } from "../auth/accounts.ts";
import { DAY_MS, HOUR_MS, iso, MINUTE_MS, QUARTER_HOUR_MS, quarterHourFrom, SECOND_MS } from "../clock.ts";
import { events, marks } from "../db/d1/schema.ts";
import { Refusal } from "../errors.ts";
import type { AccountId } from "../ids.ts";
import { firstIssue } from "../surfaces/openai/schema.ts";
import { sequenceFrom, sequenceTo } from "./event-range.ts";
import { endsBeforeItBegins, filterFields, matches, matching } from "./request-filters.ts";
import { OUTCOMES, type Outcome, outcomeOf } from "./rollup.ts";
import { statements } from "./usage.ts";

const STEPS_MS = [
  10 * SECOND_MS,
  30 * SECOND_MS,
  MINUTE_MS,
  2 * MINUTE_MS,
  5 * MINUTE_MS,
  QUARTER_HOUR_MS,
  HOUR_MS,
  3 * HOUR_MS,
  6 * HOUR_MS,
  12 * HOUR_MS,
  DAY_MS,
  7 * DAY_MS,
] as const;
const MAX_BARS = 61;
const MAX_DAYS = 366;
/** Events that one answer looks through, newest first. */
const SCANNED = 50_000;
const NEWER = 1_000;

export const histogramQuery = z
  .strictObject(filterFields)
  .refine((query) => !endsBeforeItBegins(query), { path: ["to"], error: "must not be before from" })
  .transform((filters) => {
    const to = filters.to ?? Math.max(Date.now(), filters.from ?? 0) + 1;
    return { ...filters, from: filters.from ?? Math.max(0, to - DAY_MS), to };
  })
  .refine(({ from, to }) => to - from <= MAX_DAYS * DAY_MS, {
    path: ["from"],
    error: `a range has at most ${MAX_DAYS} days`,
  });

type Asked = z.output<typeof histogramQuery>;
type Bars = Map<Outcome, (number | null)[]>;

export async function requestHistogram(c: Context<AppEnv>): Promise<Response> {
  const parsed = histogramQuery.safeParse(c.req.query());
  if (!parsed.success) throw new Refusal(firstIssue(parsed.error));
  const query = parsed.data;
  const account = c.get("account");
  const db = drizzle(c.env.DB);
  const step = STEPS_MS.find((ms) => barsOf(query, ms).length <= MAX_BARS)!;
  const starts = barsOf(query, step);
  const bars: Bars = new Map(OUTCOMES.map((outcome) => [outcome, starts.map(() => 0)]));
  const fromRollups = step >= QUARTER_HOUR_MS && query.min_ttft_ms === undefined;
  const mark = await (fromRollups ? addRollups : addEvents)(db, account, query, step, starts, bars);

  const newer = await accountObject(c.env, account).journalBefore(Number.MAX_SAFE_INTEGER, mark, NEWER);
  for (const row of newer.rows) {
    // Rollups know whole quarter hours: what is as new is counted as they would.
    const range = fromRollups ? { from: starts[0]!, to: quarterHourFrom(query.to) } : {};
    if (matches(row, { ...query, ...range }))
      add(bars, outcomeOf(row.ending), barOf(row.at, starts, step), 1);
  }
  return c.json({
    object: "request_histogram",
    from: iso(query.from),
    to: iso(query.to),
    buckets: starts.map(iso),
    by_outcome: Object.fromEntries(bars),
  });
}

/** Bars begin at whole steps; the first begins before the range where that does not. */
function barsOf({ from, to }: Pick<Asked, "from" | "to">, step: number): number[] {
  const first = Math.floor(from / step) * step;
  const length = Math.min(MAX_BARS + 1, Math.ceil((to - first) / step));
  return Array.from({ length }, (_, i) => first + i * step);
}

const barOf = (at: number, starts: readonly number[], step: number): number =>
  Math.floor((at - (starts[0] ?? 0)) / step);

function add(bars: Bars, outcome: Outcome, bar: number, many: number): void {
  const counts = bars.get(outcome)!;
  const before = counts[bar];
  if (before !== null && before !== undefined) counts[bar] = before + many;
}

type Adding = (
  db: DrizzleD1Database,
  account: AccountId,
  query: Asked,
  step: number,
  starts: readonly number[],
  bars: Bars,
) => Promise<number>;

const addRollups: Adding = async (db, account, query, _step, starts, bars) => {
  const { outcome: only, model, region, key, backend } = query;
  const range = { from: starts[0] ?? query.from, to: quarterHourFrom(query.to) };
  const filters = { model, region, key, backend };
  const { sums } = statements(db, account, { groupBy: undefined, filters, ...range }, starts, range);
  const [[at], rows] = await db.batch([db.select().from(marks).where(eq(marks.account, account)), sums]);
  for (const { bucket, requests, failures, clientLeft, refused } of rows) {
    const [failed, left, turnedAway] = [Number(failures), Number(clientLeft), Number(refused)];
    const counts = { failed, client_left: left, refused: turnedAway };
    const finished = Number(requests) - failed - left - turnedAway;
    for (const [outcome, many] of Object.entries({ finished, ...counts }) as [Outcome, number][]) {
      if (only === undefined || only === outcome) add(bars, outcome, bucket, many);
    }
  }
  return at?.mark ?? 0;
};

const addEvents: Adding = async (db, account, query, step, starts, bars) => {
  const {
    account: owner,
    sequence,
    at: endedAt,
    kind,
    ending,
    model,
    region,
    keyId,
    backend,
    ttftMs,
  } = events;
  const columns = { sequence, at: endedAt, kind, ending, model, region, keyId, backend, ttftMs };
  const scanned = db
    .select(columns)
    .from(events)
    .where(
      and(
        eq(owner, account),
        gte(sequence, sequenceFrom(account, query.from)),
        lt(sequence, sequenceTo(account, query.to)),
      ),
    )
    .orderBy(desc(sequence))
    .limit(SCANNED)
    .as("scanned");
  const bar = sql<number>`cast((${scanned.at} - ${starts[0] ?? 0}) / ${step} as integer)`;
  const [[at], rows, [look]] = await db.batch([
    db.select().from(marks).where(eq(marks.account, account)),
    db
      .select({ bar, ending: scanned.ending, many: count() })
      .from(scanned)
      .where(matching(scanned as never, query))
      .groupBy(sql`1`, scanned.ending),
    db.select({ all: count(), oldest: min(scanned.at) }).from(scanned),
  ]);
  // Older than the look goes back: not known, which is not none.
  if (look && look.all === SCANNED && look.oldest !== null) {
    const known = barOf(look.oldest, starts, step);
    for (const counts of bars.values()) counts.fill(null, 0, known + 1);
  }
  for (const { bar, ending, many } of rows) add(bars, outcomeOf(ending), bar, many);
  return at?.mark ?? 0;
};
