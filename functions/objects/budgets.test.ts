/** Budgets through the account's object: hard, exact after a restart, and of the period of the admission. */
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { beforeEach, describe, expect, it, vi } from "vitest";
import {
  type Account,
  admitQuery,
  admitted,
  BACKEND,
  books,
  fakeBackend,
  inStoppedTime,
  listBackends,
  money,
  openAccount,
  passTime,
  report,
  rowsOf,
  rowsWritten,
  saidOf,
  settlement,
  usageOf,
} from "../../test/money/fixture.ts";
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from "../clock.ts";
import { newKeyId } from "../ids.ts";
import type { AccountObject } from "./account.ts";
import { TALLY_ROWS } from "./budgets.ts";

inStoppedTime();
beforeEach(() => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
});

const at = (text: string) => vi.setSystemTime(Date.parse(text));
const ask = async (account: Account, more = {}) =>
  saidOf(await account.stub.admit(admitQuery(account, more)));
const spend = async (account: Account, input = 60, output = 40) => {
  const requestId = await admitted(account);
  await account.stub.settle(settlement(requestId, usageOf(input, output)));
};
/** An account with a budget on its key, or on itself, whichever a test is about. */
const holders = [
  ["account", "day"],
  ["account", "month"],
  ["key", "day"],
  ["key", "month"],
] as const;
async function withBudget(of: "account" | "key", period: "day" | "month", limit: number, funds = 1_000_000) {
  const name = period === "day" ? "budgetDay" : "budgetMonth";
  const account = await openAccount(funds, of === "key" ? { [name]: money(limit) } : {});
  if (of === "account") await account.stub.setBudgets({ [name]: money(limit) });
  const seen = async () =>
    of === "account"
      ? (await account.stub.budgets())[period]!
      : (await account.stub.listKeys())[0].budgets[period]!;
  return { account, seen };
}

describe.each(holders)("a budget of the %s by the %s", (of, period) => {
  // The two that differ in everything are asked at full size: each thousand costs seconds.
  const asked = (of === "account") === (period === "day") ? 1_000 : 150;

  it(`lets exactly what fits pass of ${asked} requests at once, and the next only in the next period`, async () => {
    const { account, seen } = await withBudget(of, period, 100 * 100 + 99);
    const queries = Array.from({ length: asked }, () => admitQuery(account));
    const answers = (await Promise.all(queries.map((query) => account.stub.admit(query)))).map(saidOf);
    expect(answers.filter((answer) => answer === "ok")).toHaveLength(100);
    expect(answers.filter((answer) => answer === "429 budget_exceeded")).toHaveLength(asked - 100);
    expect(await seen()).toMatchObject({ limit: 10_099, spent: 0, held: 10_000 });
    // Settled at the full, nothing has become free, now and after a restart.
    const open = queries.filter((_query, i) => answers[i] === "ok");
    await Promise.all(
      open.map(({ requestId }) => account.stub.settle(settlement(requestId, usageOf(60, 40)))),
    );
    expect(await ask(account)).toBe("429 budget_exceeded");
    await evictDurableObject(account.stub);
    expect(await ask(account)).toBe("429 budget_exceeded");
    expect(await seen()).toMatchObject({ spent: 10_000, held: 0 });
    expect((await books(account.stub)).findings).toEqual([]);
    vi.setSystemTime((await seen()).resetsAt - 1);
    expect(await ask(account)).toBe("429 budget_exceeded");
    passTime(1);
    expect(await ask(account)).toBe("ok");
    expect(await seen()).toMatchObject({ spent: 0, held: 100 });
  });

  it("takes what fits to the nanodollar, and says which budget it is and when it resets", async () => {
    at("2040-02-28T22:00:00Z");
    const { account } = await withBudget(of, period, 150);
    const requestId = await admitted(account, { maxOutput: 90 });
    const tied = await account.stub.admit(admitQuery(account));
    // Too much only with what is in flight: coming again may help.
    expect(tied).toMatchObject({ error: { retryable: true, retryAfterSeconds: 2 } });
    await account.stub.settle(settlement(requestId, usageOf(1, 50)));
    expect(await ask(account, { maxOutput: 39 })).toBe("ok");
    const refused = await account.stub.admit(admitQuery(account, { maxOutput: 40 }));
    if (refused.ok) throw new Error("admitted");
    expect(refused.error).toMatchObject({ status: 429, code: "budget_exceeded", retryable: false });
    expect(refused.error.retryAfterSeconds).toBeUndefined();
    expect(refused.error.message).toContain(`this ${of}'s budget for the ${period}, 0.00000015 USD`);
    // The year 2040 has a 29th of February.
    const end = period === "day" ? "2040-02-29T00:00:00.000Z" : "2040-03-01T00:00:00.000Z";
    expect(refused.error.message).toContain(`resets at ${end}`);
  });

  it("counts what was spent before it was set, and is counted on where none is set", async () => {
    const { account, seen } = await withBudget(of, period, 1_000);
    await spend(account);
    const [day, month] =
      period === "day" ? (["budgetDay", "budgetMonth"] as const) : (["budgetMonth", "budgetDay"] as const);
    const set = (limits: object) =>
      of === "key" ? account.stub.changeKey(account.keyId, limits) : account.stub.setBudgets(limits);
    await set({ [day]: null });
    for (let i = 0; i < 10; i++) await spend(account);
    await set({ [day]: money(1_150), [month]: null });
    expect(await seen()).toMatchObject({ limit: 1_150, spent: 1_100 });
    expect(await ask(account)).toBe("429 budget_exceeded");
  });
});

describe("the period of a request", () => {
  it("is that of its admission, with its hold and its settlement, however late", async () => {
    at("2040-01-31T23:59:59.999Z");
    const account = await openAccount(10_000);
    await account.stub.setBudgets({ budgetDay: money(150), budgetMonth: money(250) });
    const requestId = await admitted(account);
    passTime(1); // the next day, and the next month
    expect(await account.stub.budgets()).toMatchObject({
      day: { spent: 0, held: 0, resetsAt: Date.parse("2040-02-02T00:00:00Z") },
      month: { spent: 0, held: 0, resetsAt: Date.parse("2040-03-01T00:00:00Z") },
    });
    await account.stub.settle(settlement(requestId, usageOf(60, 40)));
    await evictDurableObject(account.stub);
    expect(await account.stub.budgets()).toMatchObject({ day: { spent: 0 }, month: { spent: 0 } });
    await spend(account);
    // A clock that steps back finds the old day as it was left.
    passTime(-1);
    expect(await account.stub.budgets()).toMatchObject({ day: { spent: 100 }, month: { spent: 100 } });
    expect(await ask(account)).toBe("429 budget_exceeded");
    expect((await books(account.stub)).findings).toEqual([]);
  });

  it("takes a late count within what the budget has left", async () => {
    await listBackends();
    const backend = fakeBackend();
    backend.always = "unreachable";
    const account = await openAccount(10_000, { budgetDay: money(170) });
    await admitted(account, { backend: BACKEND, deadlineMs: Date.now() });
    await runDurableObjectAlarm(account.stub); // expired without a count: 0
    await spend(account);
    backend.always = () => Response.json(report("done", 60, 40));
    passTime(MINUTE_MS);
    await runDurableObjectAlarm(account.stub);
    // 100 were due, 70 fitted.
    const rows = await rowsOf(account.stub, "journal");
    expect(rows.at(-1)).toMatchObject({ kind: "adjustment", amount: -70 });
    expect((await account.stub.listKeys())[0].budgets.day).toMatchObject({ spent: 170, held: 0 });
    expect((await books(account.stub)).findings).toEqual([]);
  });
});

describe("a key's budget", () => {
  it("is shared by a key and its successors: a rotation gives no second one", async () => {
    const account = await openAccount(10_000, { budgetDay: money(250), requestsPerMinute: 3 });
    await spend(account);
    const id = newKeyId();
    await account.stub.rotateKey(account.keyId, { id, hash: "next", hint: "next" }, HOUR_MS);
    const next = { ...account, keyId: id, keyHash: "next" };
    await spend(next);
    for (const one of [account, next]) expect(await ask(one)).toBe("429 budget_exceeded");
    await evictDurableObject(account.stub);
    for (const one of [account, next]) expect(await ask(one)).toBe("429 budget_exceeded");
    for (const key of await account.stub.listKeys()) expect(key.budgets.day).toMatchObject({ spent: 200 });
    // So are its limits a minute.
    await account.stub.changeKey(account.keyId, { budgetDay: null });
    expect(await ask(account)).toBe("ok");
    expect(await ask(account)).toBe("429 rate_limit_exceeded");
  });

  it("is its own beside another key's, and the account's stands above both", async () => {
    const account = await openAccount(10_000, { budgetDay: money(200) });
    const [id, hash] = [newKeyId(), "other"];
    await account.stub.createKey({
      id,
      name: "o",
      hash,
      hint: "o",
      requestsPerMinute: null,
      tokensPerMinute: null,
    });
    const other = { ...account, keyId: id, keyHash: hash };
    await account.stub.setBudgets({ budgetDay: money(300) });
    await spend(account);
    await spend(account);
    expect(await ask(account)).toBe("429 budget_exceeded");
    expect(await ask(other)).toBe("ok");
    const refused = await account.stub.admit(admitQuery(other));
    expect(refused).toMatchObject({ error: { message: expect.stringContaining("this account's budget") } });
  });
});

it("a refusal names the budget that stays in the way, not the one that a moment frees", async () => {
  const account = await openAccount(10_000, { budgetDay: money(150) });
  await account.stub.setBudgets({ budgetMonth: money(180) });
  await spend(account, 50, 0);
  await account.stub.setBudgets({ budgetMonth: money(140) });
  await admitted(account, { maxInput: 30, maxOutput: 30 });
  // The day's 150 wait for the 60 that are held; the month's 140 have 90 left whatever comes back.
  const refused = await account.stub.admit(admitQuery(account));
  expect(refused).toMatchObject({
    error: { retryable: false, message: expect.stringContaining("account's budget for the month") },
  });
});

describe("what budgets cost", () => {
  it("is no row: a request with budgets writes three, as any other", async () => {
    const account = await openAccount(10_000, { budgetDay: money(1_000), budgetMonth: money(1_000) });
    await account.stub.setBudgets({ budgetDay: money(1_000), budgetMonth: money(1_000) });
    const query = admitQuery(account);
    expect(await rowsWritten(account.stub, (object) => object.admit(query))).toEqual([1]);
    const end = settlement(query.requestId, usageOf(1, 1));
    expect(await rowsWritten(account.stub, (object) => object.settle(end))).toEqual([1, 1]);
  });

  it("is a writing of the sums every thousand entries, from which a restart goes on", async () => {
    const account = await openAccount(1_000_000, { budgetMonth: money(1_000_000) });
    const day = Date.UTC(2040, 0, 1) / DAY_MS;
    await runInDurableObject(account.stub, async (object: AccountObject) => {
      for (let i = 0; i < TALLY_ROWS; i++) {
        const query = admitQuery(account);
        await object.admit(query);
        await object.settle(settlement(query.requestId, usageOf(2, 1)));
      }
    });
    expect(await rowsOf(account.stub, "tallies")).toEqual([]);
    passTime(2 * SECOND_MS);
    await runDurableObjectAlarm(account.stub);
    expect(await rowsOf(account.stub, "tallies")).toEqual([{ key_id: account.keyId, day, spent: 3_000 }]);
    expect((await rowsOf(account.stub, "state"))[0]).toMatchObject({ tallied: TALLY_ROWS + 1 });
    await spend(account);
    await evictDurableObject(account.stub);
    const [key] = await account.stub.listKeys();
    expect(key.budgets.month).toMatchObject({ spent: 3_100 });
    expect((await books(account.stub)).findings).toEqual([]);
    // Two months later they say nothing to anybody.
    at("2040-03-01T00:00:00Z");
    await runInDurableObject(account.stub, (_object: AccountObject, { storage: { sql } }) => {
      sql.exec("update state set tallied = 0");
    });
    await evictDurableObject(account.stub);
    await runDurableObjectAlarm(account.stub);
    const left = await rowsOf(account.stub, "tallies");
    expect(left).toEqual([]);
  });
});
