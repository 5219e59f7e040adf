/**
 * From the journal to D1: whatever the queue does with the messages, D1 has each entry once, the rollups are the
 * sums of the events, and the mark is contiguous. `books` checks all of that after every step.
 */
import {
  createExecutionContext,
  createMessageBatch,
  getQueueResult,
  runDurableObjectAlarm,
} from "cloudflare:test";
import { asc, eq, sql } from "drizzle-orm";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { MINUTE_MS, quarterHourOf, SECOND_MS } from "../../functions/clock.ts";
import { events, rollups } from "../../functions/db/d1/schema.ts";
import type { Env } from "../../functions/env.ts";
import { newAccountId } from "../../functions/ids.ts";
import type { PriceVersion } from "../../functions/money.ts";
import type { JournalRow } from "../../functions/objects/ledger.ts";
import { countOf } from "../../functions/usage/histogram.ts";
import type { OutboxMessage } from "../../functions/usage/outbox.ts";
import { project } from "../../functions/usage/project.ts";
import { fromHex } from "../../functions/usage/rollup.ts";
import {
  db,
  drained,
  env,
  markOf,
  openAccount,
  sellModel,
  settle,
  type TestAccount,
  usageOf,
} from "../support/worker.ts";
import { random } from "./random.ts";

let price: PriceVersion;
/** What the accounts' objects sent: the test delivers it, or does not. */
let sent: OutboxMessage[];

beforeEach(async () => {
  price = await sellModel();
  sent = [];
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

function catchQueue(): void {
  vi.spyOn(env.OUTBOX, "send").mockImplementation(async (message) => {
    sent.push(message);
    return { metadata: { metrics: { backlogCount: 0, backlogBytes: 0 } } };
  });
}

/** Runs the consumer on one batch. Answers how many messages were taken and how many it wants again. */
async function deliver(
  bodies: readonly unknown[],
  on: Env = env,
): Promise<{ acked: number; retried: number }> {
  const messages = bodies.map((body, i) => ({
    id: String(i),
    timestamp: new Date(),
    attempts: 1,
    body: body as OutboxMessage,
  }));
  const batch = createMessageBatch<OutboxMessage>("causeway-outbox", messages);
  await project(batch, on);
  const { explicitAcks, retryMessages } = await getQueueResult(batch, createExecutionContext());
  return { acked: explicitAcks.length, retried: retryMessages.length };
}

const rowsOf = async (account: TestAccount): Promise<JournalRow[]> =>
  (await account.object.journalAfter(0, 1_000)) as JournalRow[];

/** The message with the entries from `first` to `last`. */
async function message(account: TestAccount, first: number, last: number): Promise<OutboxMessage> {
  const rows = await rowsOf(account);
  return { account: account.id, rows: rows.filter((row) => first <= row.sequence && row.sequence <= last) };
}

/** An account whose journal is a credit and `n` requests of two keys' worth of variety, none of it sent by itself. */
async function accountWith(n: number): Promise<TestAccount> {
  catchQueue();
  const account = await openAccount();
  for (let i = 0; i < n; i++) {
    const failed = i % 4 === 3;
    await settle(account, price, usageOf(100 + i, 10 + i, { cachedInput: i, reasoning: i }), {
      region: i % 2 ? "test-west" : "test-east",
      ending: failed ? "backend_failed" : "finished",
      ttftMs: failed ? null : 50 + i,
    });
  }
  return account;
}

/** D1 has the journal up to `mark`, field by field, nothing else, and the rollups are its sums. */
async function books(account: TestAccount, mark: number): Promise<void> {
  expect(await markOf(account.id)).toBe(mark);
  const journal = (await rowsOf(account)).filter((row) => row.sequence <= mark);
  const stored = await db
    .select()
    .from(events)
    .where(eq(events.account, account.id))
    .orderBy(asc(events.sequence));
  expect(stored).toEqual(journal.map((row) => ({ account: account.id, ...row })));

  const { ttft: _, speed: __, ...counts } = rollupColumns;
  const sums = await db
    .select({ ...counts, ...hex })
    .from(rollups)
    .where(eq(rollups.account, account.id));
  expect(
    sorted(sums.map(({ ttft, ...row }) => ({ ...row, withFirstToken: countOf(fromHex(ttft)) }))),
  ).toEqual(sorted(expectedRollups(account, journal)));
}

const { account: _account, ...rollupColumns } = {
  account: rollups.account,
  bucket: rollups.bucket,
  model: rollups.model,
  region: rollups.region,
  backend: rollups.backend,
  keyId: rollups.keyId,
  requests: rollups.requests,
  failures: rollups.failures,
  clientLeft: rollups.clientLeft,
  refused: rollups.refused,
  failedOver: rollups.failedOver,
  input: rollups.input,
  cachedInput: rollups.cachedInput,
  output: rollups.output,
  reasoning: rollups.reasoning,
  cost: rollups.cost,
  ttft: rollups.ttft,
  speed: rollups.speed,
};
const hex = { ttft: sql<string>`hex(${rollups.ttft})` };

/** By adding up the rows one after another: not the code that is tested. */
function expectedRollups(account: TestAccount, journal: readonly JournalRow[]) {
  const groups = new Map<string, Record<string, string | number>>();
  for (const row of journal) {
    if (row.kind === "credit") continue;
    const group = {
      bucket: quarterHourOf(row.at),
      model: row.model!,
      region: row.region!,
      backend: row.backend!,
      keyId: account.keyId,
    };
    const zero = {
      requests: 0,
      failures: 0,
      clientLeft: 0,
      refused: 0,
      failedOver: 0,
      input: 0,
      cachedInput: 0,
      output: 0,
      reasoning: 0,
      cost: 0,
      withFirstToken: 0,
    };
    const sums = groups.get(JSON.stringify(group)) ?? { ...group, ...zero };
    const add = (field: string, count: number) => {
      sums[field] = (sums[field] as number) + count;
    };
    if (row.kind === "usage") {
      add("requests", 1);
      add("failures", ["backend_failed", "deadline", "expired"].includes(row.ending!) ? 1 : 0);
      add("clientLeft", row.ending === "client_left" ? 1 : 0);
      add("refused", row.ending === "refused" ? 1 : 0);
      add("failedOver", row.attempts!.length > 1 ? 1 : 0);
      add("withFirstToken", row.ttftMs === null ? 0 : 1);
    }
    add("input", row.input!);
    add("cachedInput", row.cachedInput!);
    add("output", row.output!);
    add("reasoning", row.reasoning!);
    add("cost", -row.amount);
    groups.set(JSON.stringify(group), sums);
  }
  return [...groups.values()];
}

const sorted = (rows: readonly object[]) =>
  rows.map((row) => JSON.stringify(Object.entries(row).sort())).sort();

describe("the outbox", () => {
  it("brings what an account settled into D1 by itself, and the account learns it", async () => {
    const account = await openAccount();
    for (let i = 0; i < 3; i++) await settle(account, price);
    await drained(account);
    await books(account, 4);
  });

  it("has no effect when a message is delivered twice, in one batch and in two", async () => {
    const account = await accountWith(4);
    const all = await message(account, 1, 5);
    expect(await deliver([all, all])).toEqual({ acked: 2, retried: 0 });
    await books(account, 5);
    expect(await deliver([all])).toEqual({ acked: 1, retried: 0 });
    await books(account, 5);
  });

  it("sorts a batch that arrives out of order", async () => {
    const account = await accountWith(6);
    const parts = [await message(account, 6, 7), await message(account, 1, 2), await message(account, 3, 5)];
    expect(await deliver(parts)).toEqual({ acked: 3, retried: 0 });
    await books(account, 7);
  });

  it("lets go of rows that leave a gap, and takes them when what lacked has come", async () => {
    const account = await accountWith(6);
    await deliver([await message(account, 1, 2)]);
    expect(await deliver([await message(account, 4, 7)])).toEqual({ acked: 1, retried: 0 });
    await books(account, 2);
    await deliver([await message(account, 3, 3), await message(account, 4, 7)]);
    await books(account, 7);
  });

  it("takes from rows that overlap the mark only those beyond it", async () => {
    const account = await accountWith(6);
    await deliver([await message(account, 1, 4)]);
    await deliver([await message(account, 2, 6)]);
    await books(account, 6);
    await deliver([await message(account, 3, 5), await message(account, 1, 7)]);
    await books(account, 7);
  });

  it("counts once when consumers race with the same rows", async () => {
    const account = await accountWith(8);
    const all = await message(account, 1, 9);
    const head = await message(account, 1, 5);
    await Promise.all([deliver([all]), deliver([head]), deliver([all, head]), deliver([head, all])]);
    await books(account, 9);
  });

  it("writes nothing of what it prepared when the mark moves before its transaction", async () => {
    const account = await accountWith(6);
    const [head, all] = [await message(account, 1, 4), await message(account, 1, 7)];
    // Another consumer comes between this one's reading of the mark and its batch.
    let overtaken = 0;
    const DB = new Proxy(env.DB, {
      get: (database, name) => {
        if (name !== "batch") return (database[name as "prepare"] as (sql: string) => unknown).bind(database);
        return async (statements: D1PreparedStatement[]) => {
          if (overtaken++ === 0) await deliver([head]);
          return database.batch(statements);
        };
      },
    });
    expect(await deliver([all], { ...env, DB })).toEqual({ acked: 1, retried: 0 });
    expect(overtaken).toBe(2);
    await books(account, 7);
  });

  it("tells the account D1's mark also when a message had no effect", async () => {
    const account = await accountWith(2);
    const all = await message(account, 1, 3);
    const deaf = {
      ...env,
      ACCOUNTS: { getByName: () => ({ forwarded: () => Promise.reject(new Error("gone")) }) },
    } as unknown as Env;
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    expect(await deliver([all], deaf)).toEqual({ acked: 0, retried: 1 });
    expect((await account.object.progress()).mark).toBe(0);
    expect(await deliver([all])).toEqual({ acked: 1, retried: 0 });
    expect((await account.object.progress()).mark).toBe(3);
    await books(account, 3);
  });

  it("asks for a message again when D1 fails, and the others of the batch go through", async () => {
    const [broken, whole] = [await accountWith(2), await accountWith(2)];
    const DB = new Proxy(env.DB, {
      get: (database, name) => {
        if (name !== "batch") return (database[name as "prepare"] as (sql: string) => unknown).bind(database);
        return async (statements: D1PreparedStatement[]) => {
          if ((await markOf(whole.id)) === 0) return database.batch(statements);
          throw new Error("D1 is away");
        };
      },
    });
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    expect(await deliver([await message(whole, 1, 3)], { ...env, DB })).toEqual({ acked: 1, retried: 0 });
    expect(await deliver([await message(broken, 1, 3)], { ...env, DB })).toEqual({ acked: 0, retried: 1 });
    await books(whole, 3);
    await books(broken, 0);
    await deliver([await message(broken, 1, 3)]);
    await books(broken, 3);
  });

  it("sends again what was lost on the way, after a minute, from D1's mark", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const account = await accountWith(3);
    vi.setSystemTime(Date.now() + 2 * SECOND_MS);
    await runDurableObjectAlarm(account.object);
    expect(sent.map((one) => one.rows.map((row) => row.sequence))).toEqual([[1, 2, 3, 4]]);
    // Lost. Before the minute is over it is not sent again, after it it is.
    sent = [];
    vi.setSystemTime(Date.now() + MINUTE_MS - SECOND_MS);
    await runDurableObjectAlarm(account.object);
    expect(sent).toEqual([]);
    vi.setSystemTime(Date.now() + 2 * SECOND_MS);
    await runDurableObjectAlarm(account.object);
    expect(sent.map((one) => one.rows.map((row) => row.sequence))).toEqual([[1, 2, 3, 4]]);
    await deliver(sent);
    await books(account, 4);
    expect(await account.object.progress()).toEqual({ last: 4, mark: 4 });
  });

  it("takes what is no message of an outbox off the queue, and says so", async () => {
    const account = await accountWith(2);
    const whole = await message(account, 1, 3);
    const said = vi.spyOn(console, "error").mockImplementation(() => undefined);
    const bad = [
      null,
      "text",
      { account: "acct_nobody", rows: whole.rows },
      { account: newAccountId(), rows: [] },
      { account: account.id, rows: [whole.rows[0], whole.rows[2]] },
      { account: account.id, rows: [{ ...whole.rows[0], amount: 0.5 }] },
      { account: account.id, rows: [{ ...whole.rows[0], kind: "gift" }] },
    ];
    expect(await deliver([...bad, whole])).toEqual({ acked: bad.length + 1, retried: 0 });
    expect(said).toHaveBeenCalledTimes(bad.length);
    await books(account, 3);
  });

  it("ignores fields that another version of the code has added to a row", async () => {
    const account = await accountWith(1);
    const { account: id, rows } = await message(account, 1, 2);
    await deliver([{ account: id, rows: rows.map((row) => ({ ...row, colour: "blue" })), version: 2 }]);
    await books(account, 2);
  });

  it("keeps money to the nanodollar at the limits of a safe integer", async () => {
    catchQueue();
    const account = await openAccount("9007199");
    await deliver([await message(account, 1, 1)]);
    await books(account, 1);
  });

  it("ends in the same tables whatever the queue does with the messages", async () => {
    const account = await accountWith(14);
    const rows = await rowsOf(account);
    const range = fc
      .tuple(fc.nat({ max: 14 }), fc.nat({ max: 6 }))
      .map(([first, more]) => rows.slice(first, first + 1 + more));
    const batches = fc.array(fc.array(range, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 });
    const deliveries = fc.array(batches, { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(deliveries, async (rounds) => {
        await db.run(sql`delete from events where account = ${account.id}`);
        await db.run(sql`delete from rollups where account = ${account.id}`);
        await db.run(sql`delete from marks where account = ${account.id}`);
        for (const concurrent of rounds) {
          await Promise.all(
            concurrent.map((batch) => deliver(batch.map((part) => ({ account: account.id, rows: part })))),
          );
          await books(account, await markOf(account.id));
        }
        await deliver([{ account: account.id, rows }]);
        await books(account, 15);
      }),
      random("deliveries", 25),
    );
  });
});
