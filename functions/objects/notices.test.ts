import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import {
  type Account,
  admitQuery,
  admitted,
  books,
  catchQueue,
  inStoppedTime,
  money,
  openAccount,
  passTime,
  rowsOf,
  type Stub,
  settlement,
  stubOf,
  usageOf,
} from "../../test/money/fixture.ts";
import { DAY_MS, HOUR_MS, MINUTE_MS } from "../clock.ts";
import type { AccountObject } from "./account.ts";
import type { Notice, Thresholds } from "./notices.ts";

const ALL = [
  "balance.low",
  "balance.low.recovered",
  "balance.credited",
  "usage.threshold",
  "usage.threshold.recovered",
  "key.revoked",
];

inStoppedTime();

/** What the account has to tell, as its database has it: oldest first. */
const told = (stub: Stub): Promise<Notice[]> =>
  runInDurableObject(stub, (_object: AccountObject, state) =>
    state.storage.sql
      .exec("select * from notices order by id")
      .toArray()
      .map((row) => ({ ...row, data: JSON.parse(String(row.data)) }) as unknown as Notice),
  );
const types = async (stub: Stub) => (await told(stub)).map(({ type }) => type);

const thresholds = (balanceLow: number | null, ...usage: ["day" | "month", number][]): Thresholds => ({
  balanceLow: balanceLow === null ? null : money(balanceLow),
  usage: usage.map(([period, amount]) => ({ period, amount: money(amount) })),
});

async function watching(funds: number, given: Thresholds, wanted = ALL): Promise<Account> {
  const account = await openAccount(funds);
  await account.stub.want(wanted);
  await account.stub.setThresholds(given);
  return account;
}

/** A request that costs this many nanodollars. */
async function spend(account: Account, cost: number): Promise<void> {
  const requestId = await admitted(account, { maxInput: cost, maxOutput: 0 });
  await account.stub.settle(settlement(requestId, usageOf(cost, 0)));
}

const ring = (stub: Stub) => runInDurableObject(stub, (object: AccountObject) => object.alarm());
/** A new life of the object, from its rows. */
const restart = async (account: Account): Promise<Account> => {
  // One that has not run since its last eviction cannot be evicted.
  await account.stub.balance();
  await evictDurableObject(account.stub);
  return { ...account, stub: stubOf(account.id) };
};

describe("a low balance", () => {
  it("is told when the line is crossed, once, and its end once: whatever runs below", async () => {
    const account = await watching(100, thresholds(50));
    await spend(account, 50);
    expect(await types(account.stub)).toEqual([]);
    for (let i = 0; i < 5; i++) await spend(account, 1);
    expect(await told(account.stub)).toMatchObject([
      {
        type: "balance.low",
        at: Date.now(),
        data: { account: account.id, threshold_nanodollars: "50", balance: "0.000000049" },
      },
    ]);
    await account.stub.credit(money(5), "up");
    // The credit before what it brings about.
    expect(await types(account.stub)).toEqual(["balance.low", "balance.credited", "balance.low.recovered"]);
    await spend(account, 1);
    expect((await types(account.stub)).filter((type) => type === "balance.low")).toHaveLength(2);
  });

  it("is remembered by a new life of the object", async () => {
    let account = await watching(100, thresholds(50));
    await spend(account, 60);
    account = await restart(account);
    await spend(account, 1);
    expect(await types(account.stub)).toEqual(["balance.low"]);
    await account.stub.credit(money(50), "up");
    expect(await types(account.stub)).toContain("balance.low.recovered");
  });

  it("is told again when the customer raises the line, and its end when the line is lowered below the balance", async () => {
    const account = await watching(100, thresholds(50));
    await spend(account, 60);
    await account.stub.setThresholds(thresholds(50));
    expect(await types(account.stub)).toEqual(["balance.low"]);
    await account.stub.setThresholds(thresholds(70));
    expect(await types(account.stub)).toEqual(["balance.low", "balance.low"]);
    await account.stub.setThresholds(thresholds(20));
    expect(await types(account.stub)).toEqual(["balance.low", "balance.low", "balance.low.recovered"]);
    await account.stub.setThresholds(thresholds(null));
    await spend(account, 39);
    expect(await types(account.stub)).toHaveLength(3);
  });
});

describe("spending", () => {
  it("is told once a threshold and a period, and is over with the period, by the alarm", async () => {
    const account = await watching(1_000, thresholds(null, ["day", 50], ["month", 80]));
    await spend(account, 49);
    await account.stub.credit(money(500), "no income of spending");
    await spend(account, 1);
    await spend(account, 1);
    const start = new Date(Math.floor(Date.now() / DAY_MS) * DAY_MS).toISOString();
    const usage = async () => (await told(account.stub)).filter(({ type }) => type.startsWith("usage"));
    expect(await usage()).toMatchObject([
      { type: "usage.threshold", data: { period: "day", period_start: start, spent_nanodollars: "50" } },
    ]);
    passTime(DAY_MS - 1);
    await ring(account.stub);
    expect(await usage()).toHaveLength(1);
    passTime(1);
    await ring(account.stub);
    expect((await usage()).at(-1)).toMatchObject({
      type: "usage.threshold.recovered",
      data: { period: "day" },
    });
    await spend(account, 29);
    expect((await usage()).at(-1)).toMatchObject({
      type: "usage.threshold",
      data: { period: "month", spent_nanodollars: "80" },
    });
    await spend(account, 21);
    expect((await usage()).at(-1)).toMatchObject({ data: { period: "day", spent_nanodollars: "50" } });
    expect(await usage()).toHaveLength(4);
  });

  it("is worked out from the journal, to the nanodollar, wherever a new life begins", async () => {
    // Two days' history, credits in between; nobody watches while it is made.
    let account = await openAccount(10_000);
    for (let i = 0; i < 30; i++) {
      await spend(account, 10 + i);
      if (i % 7 === 0) await account.stub.credit(money(1_000), `c${i}`);
      if (i === 20) await account.stub.credit(money(-500), "taken back");
      passTime(2 * HOUR_MS);
    }
    // 24 and then 6 requests: the last six are of today.
    const today = Array.from({ length: 6 }, (_, i) => 34 + i).reduce((a, b) => a + b, 0);
    const month = Array.from({ length: 30 }, (_, i) => 10 + i).reduce((a, b) => a + b, 0);
    account = await restart(account);
    await account.stub.want(ALL);
    await account.stub.setThresholds(thresholds(null, ["day", today + 1], ["month", month + 1]));
    expect(await types(account.stub)).toEqual([]);
    await spend(account, 1);
    const data = (await told(account.stub)).map(({ data }) => data);
    expect(data).toMatchObject([
      { period: "day", spent_nanodollars: String(today + 1) },
      { period: "month", spent_nanodollars: String(month + 1) },
    ]);
  });

  it("a threshold that is passed already is told at once", async () => {
    const account = await watching(100, thresholds(null));
    await spend(account, 30);
    await account.stub.setThresholds(thresholds(null, ["month", 30]));
    expect(await types(account.stub)).toEqual(["usage.threshold"]);
  });
});

describe("a budget", () => {
  it("that refuses is told once a period and a limit, however many requests it refuses, and not while it only waits", async () => {
    const account = await openAccount(10_000);
    await account.stub.want(["budget.exceeded"]);
    await account.stub.setBudgets({ budgetDay: money(100) });
    const refused = async (cost: number) =>
      expect(await account.stub.admit(admitQuery(account, { maxInput: cost, maxOutput: 0 }))).toMatchObject({
        ok: false,
        error: { code: "budget_exceeded" },
      });
    // Tied up by what is in flight: it may fit in a moment.
    const running = await admitted(account, { maxInput: 90, maxOutput: 0 });
    await refused(20);
    expect(await told(account.stub)).toEqual([]);
    await account.stub.settle(settlement(running, usageOf(90, 0)));
    for (let i = 0; i < 3; i++) await refused(20);
    expect(await told(account.stub)).toMatchObject([
      {
        type: "budget.exceeded",
        data: {
          account: account.id,
          budget: { of: "account", period: "day", key: null, resets_at: expect.stringMatching(/Z$/) },
          limit_nanodollars: "100",
          spent_nanodollars: "90",
        },
      },
    ]);
    await account.stub.setBudgets({ budgetDay: money(105) });
    await refused(20);
    expect(await told(account.stub)).toHaveLength(2);
    passTime(DAY_MS);
    await refused(200);
    await refused(200);
    expect(await told(account.stub)).toHaveLength(3);
  });
});

it("whatever happens, crossings and their ends alternate, and the last one says what is so now", async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  console.log(`crossings: seed ${seed}`);
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ spend: fc.integer({ min: 1, max: 40 }) }) },
    { weight: 2, arbitrary: fc.record({ credit: fc.integer({ min: 1, max: 60 }) }) },
    { weight: 2, arbitrary: fc.record({ hours: fc.integer({ min: 1, max: 30 }) }) },
    { weight: 1, arbitrary: fc.constant({ restart: true as const }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      let account = await watching(200, thresholds(100, ["day", 60]));
      let [balance, today, day] = [200, 0, Math.floor(Date.now() / DAY_MS)];
      let credits = 0;
      for (const one of steps) {
        if ("spend" in one && one.spend <= balance) {
          await spend(account, one.spend);
          balance -= one.spend;
          today += one.spend;
        }
        if ("credit" in one) {
          await account.stub.credit(money(one.credit), `c${++credits}`);
          balance += one.credit;
        }
        if ("hours" in one) {
          passTime(one.hours * HOUR_MS);
          await ring(account.stub);
          const now = Math.floor(Date.now() / DAY_MS);
          if (now !== day) [today, day] = [0, now];
        }
        if ("restart" in one) account = await restart(account);
      }
      const all = await types(account.stub);
      for (const [name, holds] of [
        ["balance.low", balance < 100],
        ["usage.threshold", today >= 60],
      ] as const) {
        const own = all.filter((type) => type.startsWith(name));
        expect(own).toEqual(own.map((_, i) => (i % 2 === 0 ? name : `${name}.recovered`)));
        expect(own.length % 2 === 1).toBe(holds);
      }
      expect((await books(account.stub)).findings).toEqual([]);
    }),
    { seed, numRuns: 20 },
  );
});

describe("what is told", () => {
  it("is written in the transaction of its cause: a settlement that fails tells nothing", async () => {
    const account = await watching(100, thresholds(50));
    const requestId = await admitted(account, { maxInput: 60, maxOutput: 0 });
    await runInDurableObject(account.stub, async (object: AccountObject, state) => {
      const exec = state.storage.sql.exec.bind(state.storage.sql);
      const spy = vi.spyOn(state.storage.sql, "exec").mockImplementation(((
        query: string,
        ...values: unknown[]
      ) => {
        if (query.includes('insert into "notices"')) throw new Error("disk full");
        return exec(query, ...values);
      }) as never);
      await expect(object.settle(settlement(requestId, usageOf(60, 0)))).rejects.toThrow();
      spy.mockRestore();
    });
    expect(await rowsOf(account.stub, "reservations")).toHaveLength(1);
    expect((await books(account.stub)).balance).toBe(100);
    await account.stub.settle(settlement(requestId, usageOf(60, 0)));
    expect(await types(account.stub)).toEqual(["balance.low"]);
  });

  it("costs nothing where no endpoint asks and no threshold stands: three rows a request, as before", async () => {
    const account = await openAccount(1_000);
    const query = admitQuery(account);
    const written: number[] = [];
    await runInDurableObject(account.stub, async (object: AccountObject, state) => {
      const exec = state.storage.sql.exec.bind(state.storage.sql);
      vi.spyOn(state.storage.sql, "exec").mockImplementation(((sql: string, ...values: unknown[]) => {
        const cursor = exec(sql, ...values);
        written.push(cursor.rowsWritten);
        return cursor;
      }) as never);
      await object.want(ALL);
      written.length = 0;
      await object.setThresholds(thresholds(500, ["day", 900]));
      written.length = 0;
      await object.admit(query);
      await object.settle(settlement(query.requestId, usageOf(10, 5)));
      vi.restoreAllMocks();
    });
    expect(written.filter((rows) => rows > 0)).toEqual([1, 1, 1]);
    const other = await openAccount(1_000);
    await other.stub.credit(money(5), "up");
    await other.stub.revokeKey(other.keyId);
    expect(await told(other.stub)).toEqual([]);
  });

  it("is only what an endpoint asked for, of any time", async () => {
    const account = await openAccount(100);
    await account.stub.want(["key.revoked"]);
    await account.stub.want(["balance.credited"]);
    await account.stub.credit(money(5), "up");
    await account.stub.credit(money(-5), "down");
    await account.stub.credit(money(5), "up");
    await account.stub.revokeKey(account.keyId);
    await account.stub.revokeKey(account.keyId);
    expect(await types(account.stub)).toEqual(["balance.credited", "key.revoked"]);
  });

  it("is sent with the outbox, again after a minute without an answer, and goes when D1 has it", async () => {
    const queue = catchQueue();
    const account = await openAccount(100);
    await account.stub.want(["key.revoked"]);
    await account.stub.revokeKey(account.keyId);
    const [notice] = await told(account.stub);
    const notices = () => queue.sent.flatMap((message) => message.notices ?? []);
    await ring(account.stub);
    expect(notices()).toEqual([notice]);
    await ring(account.stub);
    expect(notices()).toHaveLength(1);
    passTime(MINUTE_MS);
    await ring(account.stub);
    expect(notices().map(({ id }) => id)).toEqual([notice!.id, notice!.id]);
    // A new life knows nothing of what was sent.
    const again = await restart(account);
    await ring(again.stub);
    expect(notices()).toHaveLength(3);
    await again.stub.told([notice!.id]);
    passTime(MINUTE_MS);
    await ring(again.stub);
    expect(notices()).toHaveLength(3);
    expect(await told(again.stub)).toEqual([]);
  });
});
