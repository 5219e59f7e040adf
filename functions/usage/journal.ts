/**
 * GET /v1/journal: every change of the balance, newest first, each with the balance after it. As with requests, D1 has
 * the entries up to its mark and the account's object the newer ones.
 */
import { and, desc, eq, getTableColumns, lt } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { accountObject } from "../auth/accounts.ts";
import { iso } from "../clock.ts";
import { events, marks } from "../db/d1/schema.ts";
import { Refusal } from "../errors.ts";
import { formatUsd } from "../money.ts";
import type { JournalRow } from "../objects/ledger.ts";
import { firstIssue } from "../surfaces/openai/schema.ts";

const { trace: _trace, attempts: _attempts, account: _account, ...columns } = getTableColumns(events);

export const journalQuery = z.strictObject({
  before: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(Number.MAX_SAFE_INTEGER),
  limit: z.coerce.number().int().min(1).max(100).default(50),
});

export async function listJournal(c: Context<AppEnv>): Promise<Response> {
  const parsed = journalQuery.safeParse(c.req.query());
  if (!parsed.success) throw new Refusal(firstIssue(parsed.error));
  const { before, limit } = parsed.data;
  const account = c.get("account");
  const db = drizzle(c.env.DB);
  const [[at], stored] = await db.batch([
    db.select().from(marks).where(eq(marks.account, account)),
    db
      .select(columns)
      .from(events)
      .where(and(eq(events.account, account), lt(events.sequence, before)))
      .orderBy(desc(events.sequence))
      .limit(limit + 1),
  ]);
  // After D1: what it lacked then is still in the object. More than fill the answer are not needed of either.
  const newer = await accountObject(c.env, account).journalBefore(before, at?.mark ?? 0, limit + 1);
  const found = [...newer.rows, ...stored];
  const data = found.slice(0, limit);
  return c.json({
    object: "list",
    data: data.map(entryView),
    next_before: found.length > limit ? data.at(-1)!.sequence : null,
  });
}

const entryView = (row: Omit<JournalRow, "trace" | "attempts">) => ({
  sequence: row.sequence,
  at: iso(row.at),
  kind: row.kind,
  amount: formatUsd(row.amount),
  amount_nanodollars: String(row.amount),
  balance: formatUsd(row.balance),
  balance_nanodollars: String(row.balance),
  reference: row.reference,
  request_id: row.requestId,
  model: row.model,
  key: row.keyId,
});
