/**
 * GET /v1/requests: every settled request, newest first, whatever its ending. D1's events have those up to its mark;
 * what is newer comes from the account's object, so a request is listed from the moment of its settlement.
 */
import { and, asc, count, desc, eq, getTableColumns, gt, gte, lt, min, sql } from "drizzle-orm";
import { type DrizzleD1Database, drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { accountObject } from "../auth/accounts.ts";
import { events, marks } from "../db/d1/schema.ts";
import { Refusal } from "../errors.ts";
import type { AccountId, RequestId } from "../ids.ts";
import { firstIssue } from "../surfaces/openai/schema.ts";
import { sequenceFrom, sequenceTo } from "./event-range.ts";
import {
  endsBeforeItBegins,
  filterFields,
  matches,
  matching,
  type RequestFilters,
} from "./request-filters.ts";
import { type ListedRow, requestRows } from "./request-row.ts";

/** Entries that one answer looks through; what lies beyond comes with the next page. */
const SCANNED = 10_000;
const NEWER = 1_000;

const { trace: _trace, reference: _reference, account: _account, ...listed } = getTableColumns(events);

const sequence = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

export const listQuery = z
  .strictObject({
    ...filterFields,
    before: sequence.optional(),
    after: sequence.optional(),
    limit: z.coerce.number().int().min(1).max(100).default(50),
  })
  .refine(({ before, after }) => before === undefined || after === undefined, {
    path: ["after"],
    error: "cannot stand beside before",
  })
  .refine((query) => !endsBeforeItBegins(query), { path: ["to"], error: "must not be before from" });

export async function listRequests(c: Context<AppEnv>): Promise<Response> {
  const parsed = listQuery.safeParse(c.req.query());
  if (!parsed.success) throw new Refusal(firstIssue(parsed.error));
  const { before = Number.MAX_SAFE_INTEGER, after = 0, limit, ...filters } = parsed.data;
  const account = c.get("account");
  const db = drizzle(c.env.DB);

  const stored = await storedRows(db, account, filters, { before, after, limit });
  // After D1: what D1 lacked then is still in the object. Its adjustments of rows that D1 has come with it.
  const object = accountObject(c.env, account);
  const [newer, late] = await Promise.all([
    object.journalBefore(before, Math.max(after, stored.mark), NEWER),
    adjustmentsOf(db, account, stored.rows),
  ]);
  // The object had more than it may tell at once: D1's rows would leave a gap.
  const isFull = newer.rows.length === NEWER;
  const fresh = newer.rows.filter((row) => matches(row, filters));
  const found = isFull ? fresh : [...fresh, ...stored.rows];
  const shown = found.slice(0, limit);
  const lowest = isFull ? newer.rows.at(-1)!.sequence : stored.lowest;
  const isWhole = found.length <= limit && lowest === null;
  const isFirst = parsed.data.before === undefined && parsed.data.after === undefined;
  return c.json({
    object: "list",
    data: requestRows(
      shown,
      [...late, ...newer.rows.filter((row) => row.kind === "adjustment").reverse()],
      newer.awaited,
    ),
    next_before: isWhole ? null : found.length > limit ? shown.at(-1)!.sequence : lowest,
    newest: newer.last,
    matched: isFirst && !isFull && stored.matched !== null ? fresh.length + stored.matched : null,
  });
}

interface Page {
  readonly before: number;
  readonly after: number;
  readonly limit: number;
}

/**
 * Up to one row more than the limit, from D1. `lowest` is where the look ended before the range did, `matched` how
 * many there are in all where it did not.
 */
async function storedRows(
  db: DrizzleD1Database,
  account: AccountId,
  filters: RequestFilters,
  { before, after, limit }: Page,
): Promise<{ mark: number; rows: ListedRow[]; lowest: number | null; matched: number | null }> {
  const { from, to } = filters;
  const scanned = db
    .select(listed)
    .from(events)
    .where(
      and(
        eq(events.account, account),
        lt(events.sequence, before),
        gt(events.sequence, after),
        from === undefined ? undefined : gte(events.sequence, sequenceFrom(account, from)),
        to === undefined ? undefined : lt(events.sequence, sequenceTo(account, to)),
      ),
    )
    .orderBy(desc(events.sequence))
    .limit(SCANNED)
    .as("scanned");
  const [[at], rows, [look]] = await db.batch([
    db.select().from(marks).where(eq(marks.account, account)),
    db
      .select()
      .from(scanned)
      .where(matching(scanned as never, filters))
      .orderBy(desc(scanned.sequence))
      .limit(limit + 1),
    db
      .select({
        all: count(),
        lowest: min(scanned.sequence),
        matched: sql<number>`count(*) filter (where ${matching(scanned as never, filters)})`,
      })
      .from(scanned),
  ]);
  const isEnd = (look?.all ?? 0) < SCANNED;
  return {
    mark: at?.mark ?? 0,
    rows: rows as ListedRow[],
    lowest: isEnd ? null : look!.lowest,
    matched: isEnd ? (look?.matched ?? 0) : null,
  };
}

/** What came late of these requests, as far as D1 has it; by the index on request ids. */
async function adjustmentsOf(
  db: DrizzleD1Database,
  account: AccountId,
  rows: readonly ListedRow[],
): Promise<ListedRow[]> {
  const ids = rows.map((row) => row.requestId).filter((id): id is RequestId => id !== null);
  if (ids.length === 0) return [];
  return (await db
    .select(listed)
    .from(events)
    .where(
      and(
        sql`${events.requestId} in (select value from json_each(${JSON.stringify(ids)}))`,
        eq(events.account, account),
        eq(events.kind, "adjustment"),
      ),
    )
    .orderBy(asc(events.sequence))) as ListedRow[];
}
