/**
 * The queue's consumer: journal rows become events, rollups and the mark of their account, in one D1 batch (a
 * transaction). Queues deliver twice, late and out of order, and two consumers may hold the same rows, so every
 * statement is guarded by the mark that was read: what was overtaken has no effect. The mark moves only over
 * contiguous sequences; rows that leave a gap are let go, and the account's object sends them again from the mark.
 */
import { and, eq, type SQL, sql } from "drizzle-orm";
import { type DrizzleD1Database, drizzle } from "drizzle-orm/d1";
import { z } from "zod";
import { accountObject } from "../auth/accounts.ts";
import { events, marks, rollups } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import { framesOf } from "../errors.ts";
import { type AccountId, isAccountId } from "../ids.ts";
import type { JournalRow } from "../objects/ledger.ts";
import { dispatchNotices } from "../webhooks/dispatch.ts";
import { NOTICE_TYPES } from "../webhooks/events.ts";
import { merge } from "./histogram.ts";
import { MAX_NOTICES, MAX_ROWS, type OutboxMessage } from "./outbox.ts";
import { fromHex, groupText, type Rollup, rollupsOf, toHex } from "./rollup.ts";

/** How often a message is tried whose mark moves under it. */
const TRIES = 5;

const natural = z.int().min(0);
const label = z.string().nullish().default(null);
const tokens = natural.nullish().default(null);

/** A row as any version of the code may have sent it: what is not known here is dropped. */
const journalRow = z.object({
  sequence: z.int().min(1),
  kind: z.enum(["usage", "adjustment", "credit"]),
  at: natural,
  amount: z.int(),
  balance: z.int(),
  reference: label,
  requestId: label,
  keyId: label,
  model: label,
  region: label,
  backend: label,
  ending: label,
  finishReason: label,
  input: tokens,
  cachedInput: tokens,
  output: tokens,
  reasoning: tokens,
  source: label,
  priceId: label,
  held: tokens,
  admittedAt: tokens,
  ttftMs: tokens,
  durationMs: tokens,
  attempts: z.array(z.unknown()).nullish().default(null),
  trace: z.record(z.string(), z.unknown()).nullish().default(null),
});

const notice = z.object({
  id: z.templateLiteral(["evt_", z.string()]),
  type: z.enum(NOTICE_TYPES),
  at: natural,
  data: z.record(z.string(), z.unknown()),
});

const outboxMessage = z
  .object({
    account: z.string().refine(isAccountId),
    notices: z.array(notice).max(MAX_NOTICES).default([]),
    rows: z
      .array(journalRow)
      .max(10 * MAX_ROWS)
      .refine((rows) => rows.every((row, i) => row.sequence === rows[0]!.sequence + i), {
        error: "not contiguous",
      }),
  })
  .refine(({ rows, notices }) => rows.length + notices.length > 0, { error: "empty" });

export async function project(batch: MessageBatch<OutboxMessage>, env: Env): Promise<void> {
  const readable = batch.messages.flatMap((message) => {
    const parsed = outboxMessage.safeParse(message.body);
    if (parsed.success) return [{ message, ...(parsed.data as unknown as OutboxMessage) }];
    // Asking again would not change it. If it was usage, its object sends it again, to newer code in the end.
    const [issue] = parsed.error.issues;
    console.error(`message ${message.id} is not of the outbox: ${issue?.path.join(".")}: ${issue?.message}`);
    message.ack();
    return [];
  });
  const byAccount = Map.groupBy(readable, ({ account }) => account);
  await Promise.all(
    [...byAccount.values()].map(async (messages) => {
      messages.sort((a, b) => (a.rows[0]?.sequence ?? 0) - (b.rows[0]?.sequence ?? 0));
      for (const { message, account, rows, notices = [] } of messages) {
        try {
          if (rows.length > 0) await projectRows(env, account, rows);
          if (notices.length > 0) await dispatchNotices(env, account, notices);
          message.ack();
        } catch (error) {
          console.error(
            `account ${account}: rows from ${rows[0]?.sequence} wait for another try: ${error instanceof Error ? error.name : "error"}: ${framesOf(error)}`,
          );
          message.retry();
        }
      }
    }),
  );
}

/** Brings rows into D1, once, and tells the account's object how far D1 is. */
async function projectRows(env: Env, account: AccountId, rows: readonly JournalRow[]): Promise<void> {
  const db = drizzle(env.DB);
  for (let tried = 0; tried < TRIES; tried++) {
    const before = await db.select().from(marks).where(eq(marks.account, account)).get();
    const mark = before?.mark ?? 0;
    const fresh = rows.filter((row) => row.sequence > mark);
    const first = fresh[0];
    // D1 has them, or lacks what comes before them. The object learns the mark in both cases.
    const after = !first || first.sequence > mark + 1 ? mark : await write(db, account, mark, fresh);
    if (after !== undefined) return accountObject(env, account).forwarded(after);
  }
  throw new Error(`the mark moved ${TRIES} times`);
}

/** One transaction. The new mark, or undefined when the mark was no more what it is said to be: nothing was written. */
async function write(
  db: DrizzleD1Database,
  account: AccountId,
  mark: number,
  rows: readonly JournalRow[],
): Promise<number | undefined> {
  const groups = await merged(db, account, rollupsOf(rows));
  const unmoved = sql`exists (select 1 from ${marks} where ${marks.account} = ${account} and ${marks.mark} = ${mark})`;
  const last = rows.at(-1)!.sequence;
  const [, , , moved] = await db.batch([
    // An account's first message finds no mark. A row that says 0 is what its absence says.
    db.insert(marks).values({ account, mark: 0 }).onConflictDoNothing(),
    insertEvents(db, account, rows, unmoved),
    upsertRollups(db, account, groups, unmoved),
    db
      .update(marks)
      .set({ mark: last })
      .where(and(eq(marks.account, account), eq(marks.mark, mark)))
      .returning(),
  ]);
  return moved.length === 1 ? last : undefined;
}

/**
 * Rows go as one JSON parameter: D1 binds at most a hundred. Its integers are exact in SQLite. The order is that of
 * the table's columns in the schema: Drizzle names them all.
 */
function insertEvents(db: DrizzleD1Database, account: AccountId, rows: readonly JournalRow[], unmoved: SQL) {
  return db.insert(events).select(sql`
    select ${account}, value ->> 'sequence', value ->> 'kind', value ->> 'at', value ->> 'amount',
      value ->> 'balance', value ->> 'reference', value ->> 'requestId', value ->> 'keyId', value ->> 'model',
      value ->> 'region', value ->> 'backend', value ->> 'ending', value ->> 'finishReason', value ->> 'input',
      value ->> 'cachedInput', value ->> 'output', value ->> 'reasoning', value ->> 'source', value ->> 'priceId',
      value ->> 'held', value ->> 'admittedAt', value ->> 'ttftMs', value ->> 'durationMs', value ->> 'attempts',
      value ->> 'trace'
    from json_each(${JSON.stringify(rows)}) where ${unmoved}`);
}

/** Counts are added by SQL; histograms were merged with what stands there, which the guard proves unchanged. */
function upsertRollups(db: DrizzleD1Database, account: AccountId, groups: readonly Rollup[], unmoved: SQL) {
  const json = JSON.stringify(
    groups.map((group) => ({ ...group, ttft: toHex(group.ttft), speed: toHex(group.speed) })),
  );
  const { bucket, model, region, backend, keyId } = rollups;
  return db
    .insert(rollups)
    .select(sql`
      select ${account}, value ->> 'bucket', value ->> 'model', value ->> 'region', value ->> 'backend',
        value ->> 'keyId', value ->> 'requests', value ->> 'failures', value ->> 'input', value ->> 'cachedInput',
        value ->> 'output', value ->> 'reasoning', value ->> 'cost', unhex(value ->> 'ttft'), unhex(value ->> 'speed'),
        value ->> 'clientLeft', value ->> 'refused', value ->> 'failedOver'
      from json_each(${json}) where ${unmoved}`)
    .onConflictDoUpdate({
      target: [rollups.account, bucket, model, region, backend, keyId],
      set: {
        requests: sql`${rollups.requests} + excluded.requests`,
        failures: sql`${rollups.failures} + excluded.failures`,
        input: sql`${rollups.input} + excluded.input`,
        cachedInput: sql`${rollups.cachedInput} + excluded.cached_input`,
        output: sql`${rollups.output} + excluded.output`,
        reasoning: sql`${rollups.reasoning} + excluded.reasoning`,
        cost: sql`${rollups.cost} + excluded.cost`,
        ttft: sql`excluded.ttft`,
        speed: sql`excluded.speed`,
        clientLeft: sql`${rollups.clientLeft} + excluded.client_left`,
        refused: sql`${rollups.refused} + excluded.refused`,
        failedOver: sql`${rollups.failedOver} + excluded.failed_over`,
      },
    });
}

/** The groups with their histograms merged into those that D1 has. */
async function merged(
  db: DrizzleD1Database,
  account: AccountId,
  groups: readonly Rollup[],
): Promise<readonly Rollup[]> {
  if (groups.length === 0) return groups;
  const { bucket, model, region, backend, keyId } = rollups;
  const buckets = JSON.stringify([...new Set(groups.map((group) => group.bucket))]);
  const standing = await db
    .select({
      ...{ bucket, model, region, backend, keyId },
      ttft: sql<string>`hex(${rollups.ttft})`,
      speed: sql<string>`hex(${rollups.speed})`,
    })
    .from(rollups)
    .where(and(eq(rollups.account, account), sql`${bucket} in (select value from json_each(${buckets}))`));
  const before = new Map(standing.map((row) => [groupText(row), row]));
  return groups.map((group) => {
    const row = before.get(groupText(group));
    if (!row) return group;
    return {
      ...group,
      ttft: merge(fromHex(row.ttft), group.ttft),
      speed: merge(fromHex(row.speed), group.speed),
    };
  });
}
