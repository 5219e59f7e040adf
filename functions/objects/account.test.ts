import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { beforeEach, describe, expect, it, vi } from "vitest";
import {
  admitQuery,
  admitted,
  alarmOf,
  books,
  catchQueue,
  inStoppedTime,
  money,
  openAccount,
  passTime,
  rowsOf,
  settlement,
  stubOf,
  usageOf,
} from "../../test/money/fixture.ts";
import type { Admission } from "../admission/holder.ts";
import { MINUTE_MS, SECOND_MS } from "../clock.ts";
import { newAccountId, newKeyId } from "../ids.ts";
import type { AccountObject } from "./account.ts";

let queue: ReturnType<typeof catchQueue>;
inStoppedTime();
beforeEach(() => {
  queue = catchQueue();
  vi.spyOn(console, "error").mockImplementation(() => undefined);
});

const saidOf = (admission: Admission) =>
  admission.ok ? "ok" : `${admission.error.status} ${admission.error.code}`;

describe("an account that nobody opened", () => {
  it("knows no key and has no books", async () => {
    const stub = stubOf(newAccountId());
    const account = { id: newAccountId(), stub, keyHash: "any", keyId: newKeyId() };
    expect(saidOf(await stub.admit(admitQuery(account)))).toBe("401 invalid_api_key");
    expect(await stub.identify("any")).toBeUndefined();
    expect(await stub.audit()).toBeUndefined();
  });

  it("is opened once: a second time changes nothing", async () => {
    const account = await openAccount(500);
    const before = await rowsOf(account.stub, "state");
    await account.stub.open(account.id);
    await account.stub.open(newAccountId());
    expect(await rowsOf(account.stub, "state")).toEqual(before);
    expect((await books(account.stub)).balance).toBe(500);
  });
});

describe("admission", () => {
  it("holds the most that the request can cost, and no more than is available", async () => {
    const account = await openAccount(250);
    const answers = [];
    for (let i = 0; i < 3; i++) answers.push(await account.stub.admit(admitQuery(account)));
    expect(answers.map(saidOf)).toEqual(["ok", "ok", "429 balance_in_flight"]);
    expect(answers[0]).toMatchObject({ account: account.id, key: account.keyId, epoch: 1, held: 100 });
    expect(await books(account.stub)).toMatchObject({ balance: 250, held: 200, available: 50, findings: [] });
  });

  it("admits what takes all that is left, to the nanodollar", async () => {
    const account = await openAccount(100);
    expect(saidOf(await account.stub.admit(admitQuery(account, { maxOutput: 41 })))).toBe(
      "402 insufficient_balance",
    );
    expect(saidOf(await account.stub.admit(admitQuery(account)))).toBe("ok");
  });

  it("says 402 when the balance itself is too small, 429 when it is only tied up", async () => {
    const account = await openAccount(150);
    await admitted(account);
    expect(saidOf(await account.stub.admit(admitQuery(account)))).toBe("429 balance_in_flight");
    expect(saidOf(await account.stub.admit(admitQuery(account, { maxOutput: 400 })))).toBe(
      "402 insufficient_balance",
    );
  });

  it("of 1,000 requests at once with funds for exactly 100 lets exactly 100 pass and overdraws nothing", async () => {
    const account = await openAccount(100 * 100);
    const queries = Array.from({ length: 1_000 }, () => admitQuery(account));
    const answers = (await Promise.all(queries.map((query) => account.stub.admit(query)))).map(saidOf);
    expect(answers.filter((answer) => answer === "ok")).toHaveLength(100);
    expect(answers.filter((answer) => answer === "429 balance_in_flight")).toHaveLength(900);
    const after = await books(account.stub);
    expect(after).toMatchObject({
      balance: 10_000,
      held: 10_000,
      available: 0,
      openReservations: 100,
      findings: [],
    });

    const open = queries.filter((_query, i) => answers[i] === "ok");
    const receipts = await Promise.all(
      open.map(({ requestId }) => account.stub.settle(settlement(requestId, usageOf(60, 40)))),
    );
    expect(receipts.every((receipt) => receipt.posted && receipt.cost === 100)).toBe(true);
    expect(await books(account.stub)).toMatchObject({ balance: 0, held: 0, available: 0, findings: [] });
  });

  it("refuses a request id that is open, and holds nothing for it again", async () => {
    const account = await openAccount(1_000);
    const query = admitQuery(account);
    expect(saidOf(await account.stub.admit(query))).toBe("ok");
    const again = await runInDurableObject(account.stub, (object: AccountObject) =>
      object.admit(query).catch(() => "threw"),
    );
    expect(again).toBe("threw");
    expect(await books(account.stub)).toMatchObject({ held: 100, openReservations: 1, findings: [] });
  });

  it.each([
    ["a bound that is not a number", { maxInput: Number.NaN }],
    ["a negative bound", { maxOutput: -1 }],
    ["no deadline", { deadlineMs: Number.NaN }],
    ["a negative rate", { price: { ...admitQuery({} as never).price, output: money(-1) } }],
  ])("with %s fails whole: nothing is held and no limit is used up", async (_name, absurd) => {
    const account = await openAccount(1_000, { requestsPerMinute: 1 });
    const threw = await runInDurableObject(account.stub, (object: AccountObject) =>
      object.admit(admitQuery(account, absurd)).then(
        () => false,
        () => true,
      ),
    );
    expect(threw).toBe(true);
    expect(await books(account.stub)).toMatchObject({ held: 0, openReservations: 0, findings: [] });
    expect(saidOf(await account.stub.admit(admitQuery(account)))).toBe("ok");
  });

  it("costs nothing where the price is free, and needs no balance for it", async () => {
    const account = await openAccount(0);
    const free = { ...admitQuery(account).price, input: money(0), cachedInput: money(0), output: money(0) };
    const requestId = await admitted(account, { price: free });
    expect(await account.stub.settle(settlement(requestId, usageOf(60, 40)))).toEqual({
      posted: true,
      cost: 0,
    });
    expect(await books(account.stub)).toMatchObject({ balance: 0, last: 1, findings: [] });
  });
});

describe("a key", () => {
  it("that was revoked admits nothing from then on, and what it had open still settles", async () => {
    const account = await openAccount(1_000);
    const requestId = await admitted(account);
    const revoked = await account.stub.revokeKey(account.keyId);
    passTime(5);
    expect(await account.stub.revokeKey(account.keyId)).toEqual(revoked); // the first time counts
    expect(saidOf(await account.stub.admit(admitQuery(account)))).toBe("401 invalid_api_key");
    expect(await account.stub.identify(account.keyHash)).toBeUndefined();
    expect(await account.stub.settle(settlement(requestId, usageOf(1, 1)))).toEqual({
      posted: true,
      cost: 2,
    });
    await evictDurableObject(account.stub);
    expect(saidOf(await account.stub.admit(admitQuery(account)))).toBe("401 invalid_api_key");
  });

  it("shows its hash to nobody", async () => {
    const account = await openAccount(0);
    expect(JSON.stringify(await account.stub.listKeys())).not.toContain(account.keyHash);
    expect(
      JSON.stringify(await account.stub.changeKey(account.keyId, { requestsPerMinute: 1 })),
    ).not.toContain(account.keyHash);
    expect(JSON.stringify(await account.stub.revokeKey(account.keyId))).not.toContain(account.keyHash);
  });

  it("that does not exist cannot be changed", async () => {
    const account = await openAccount(0);
    expect(await account.stub.revokeKey(newKeyId())).toMatchObject({ status: 404 });
    expect(await account.stub.changeKey(newKeyId(), {})).toMatchObject({ status: 404 });
  });

  it("takes limits and nothing else when its limits are set", async () => {
    const account = await openAccount(0, { requestsPerMinute: 7 });
    expect(await account.stub.changeKey(account.keyId, {})).toMatchObject({
      requestsPerMinute: 7,
      tokensPerMinute: null,
    });
    const more = { tokensPerMinute: 9, hash: "stolen", revokedAt: 1 };
    expect(await account.stub.changeKey(account.keyId, more)).toMatchObject({
      requestsPerMinute: 7,
      tokensPerMinute: 9,
      revokedAt: null,
    });
    expect(await account.stub.identify(account.keyHash)).toBeDefined();
    expect(await account.stub.identify("stolen")).toBeUndefined();
  });

  it("may ask its number of times a minute, refused requests not counted, and is told when to come again", async () => {
    const account = await openAccount(10_000, { requestsPerMinute: 2 });
    await admitted(account);
    passTime(20_000);
    await admitted(account);
    const refused = await account.stub.admit(admitQuery(account));
    expect(refused).toMatchObject({
      error: { status: 429, code: "rate_limit_exceeded", retryAfterSeconds: 40 },
      limits: { requests: { limit: 2, remaining: 0 } },
    });
    passTime(39_999);
    expect(saidOf(await account.stub.admit(admitQuery(account)))).toBe("429 rate_limit_exceeded");
    passTime(1);
    expect(saidOf(await account.stub.admit(admitQuery(account)))).toBe("ok");
  });

  it("counts the tokens that a request may use until it settles, then those that it used", async () => {
    const account = await openAccount(10_000, { tokensPerMinute: 150 });
    const requestId = await admitted(account);
    expect(saidOf(await account.stub.admit(admitQuery(account)))).toBe("429 rate_limit_exceeded");
    await account.stub.settle(settlement(requestId, usageOf(40, 10)));
    expect(await account.stub.admit(admitQuery(account))).toMatchObject({
      ok: true,
      limits: { tokens: { limit: 150, remaining: 0 } },
    });
  });

  it("is told at once when a request can never pass its limit", async () => {
    const account = await openAccount(10_000, { tokensPerMinute: 99 });
    expect(saidOf(await account.stub.admit(admitQuery(account)))).toBe("400 request_exceeds_limit");
  });

  it("uses up no limit with a request that could not be paid", async () => {
    const account = await openAccount(100, { requestsPerMinute: 1 });
    expect(saidOf(await account.stub.admit(admitQuery(account, { maxOutput: 400 })))).toBe(
      "402 insufficient_balance",
    );
    expect(saidOf(await account.stub.admit(admitQuery(account)))).toBe("ok");
  });

  it("keeps its windows over a restart, each request at its own time", async () => {
    const account = await openAccount(10_000, { requestsPerMinute: 3, tokensPerMinute: 10_000 });
    // The journal's newest come first, and what is still open comes last: no order of time.
    const first = await admitted(account);
    passTime(10_000);
    const second = await admitted(account);
    passTime(10_000);
    await admitted(account);
    await account.stub.settle(settlement(first, usageOf(5, 5)));
    await account.stub.settle(settlement(second, usageOf(10, 10)));
    await evictDurableObject(account.stub);
    const refused = await account.stub.admit(admitQuery(account));
    expect(refused).toMatchObject({
      error: { retryAfterSeconds: 40 },
      limits: { requests: { remaining: 0 }, tokens: { remaining: 10_000 - 10 - 20 - 100 } },
    });
    passTime(40_000);
    expect(saidOf(await account.stub.admit(admitQuery(account)))).toBe("ok");
    expect(saidOf(await account.stub.admit(admitQuery(account)))).toBe("429 rate_limit_exceeded");
    passTime(10_000);
    expect(saidOf(await account.stub.admit(admitQuery(account)))).toBe("ok");
  });
});

describe("a credit", () => {
  it("counts once a reference, also after a restart", async () => {
    const account = await openAccount(0);
    expect(await account.stub.credit(money(500), "invoice 1")).toEqual({
      credited: true,
      balance: 500,
      held: 0,
      available: 500,
    });
    expect(await account.stub.credit(money(500), "invoice 1")).toEqual({
      credited: false,
      balance: 500,
      held: 0,
      available: 500,
    });
    await evictDurableObject(account.stub);
    expect(await account.stub.credit(money(500), "invoice 1")).toMatchObject({
      credited: false,
      balance: 500,
    });
    expect((await books(account.stub)).last).toBe(1);
  });

  it("with a reference that credited another amount is refused and changes nothing", async () => {
    const account = await openAccount(0);
    await account.stub.credit(money(500), "invoice 1");
    expect(await account.stub.credit(money(501), "invoice 1")).toMatchObject({
      status: 400,
      code: "reference_used",
    });
    expect(await books(account.stub)).toMatchObject({ balance: 500, last: 1 });
  });

  it("may take back what is available, and never what is held", async () => {
    const account = await openAccount(300);
    await admitted(account);
    expect(await account.stub.credit(money(-201), "refund 1")).toMatchObject({ status: 400 });
    expect(await account.stub.credit(money(-200), "refund 1")).toMatchObject({
      credited: true,
      balance: 100,
      available: 0,
    });
    // Its reply was lost, it is sent again: there is nothing left to take, and nothing is taken.
    expect(await account.stub.credit(money(-200), "refund 1")).toMatchObject({
      credited: false,
      balance: 100,
    });
    expect((await books(account.stub)).findings).toEqual([]);
  });

  it.each([Number.MAX_SAFE_INTEGER, Number.NaN, 0.5, Number.POSITIVE_INFINITY])(
    "of %s is refused",
    async (amount) => {
      const account = await openAccount(1);
      expect(await account.stub.credit(amount as never, "odd")).toMatchObject({ status: 400 });
      expect(await books(account.stub)).toMatchObject({ balance: 1, last: 1 });
    },
  );
});

describe("what is asked of one request", () => {
  it("is answered while it is open, and when it is settled and D1 may not have it yet", async () => {
    const account = await openAccount(1_000);
    const requestId = await admitted(account);
    expect(await account.stub.request(requestId)).toMatchObject({
      state: "open",
      held: 100,
      keyId: account.keyId,
    });
    await account.stub.settle(settlement(requestId, usageOf(10, 5)));
    expect(await account.stub.request(requestId)).toMatchObject({
      state: "settled",
      rows: [{ amount: -15, requestId }],
    });
    await account.stub.forwarded(2);
    expect(await account.stub.request(requestId)).toBeUndefined();
  });
});

describe("the outbox", () => {
  const settleOne = async (account: Awaited<ReturnType<typeof openAccount>>) =>
    account.stub.settle(
      settlement(await admitted(account, { deadlineMs: Date.now() + 86_400_000 }), usageOf(1, 1)),
    );

  it("sends what was settled within a second, together, in order", async () => {
    const account = await openAccount(1_000);
    const opened = Date.now();
    for (let i = 0; i < 3; i++) await settleOne(account);
    expect(await alarmOf(account.stub)).toBe(opened + SECOND_MS);
    passTime(SECOND_MS);
    await runDurableObjectAlarm(account.stub);
    expect(queue.sequences()).toEqual([[1, 2, 3, 4]]);
    expect(queue.sent[0]!.account).toBe(account.id);
  });

  it("sends each row once while D1 may still take it, then all again from D1's mark", async () => {
    const account = await openAccount(1_000);
    await settleOne(account);
    passTime(SECOND_MS);
    await runDurableObjectAlarm(account.stub);
    await settleOne(account);
    passTime(SECOND_MS);
    await runDurableObjectAlarm(account.stub);
    expect(queue.sequences()).toEqual([[1, 2], [3]]);
    await account.stub.forwarded(1);
    passTime(MINUTE_MS);
    await runDurableObjectAlarm(account.stub);
    expect(queue.sequences()).toEqual([[1, 2], [3], [2, 3]]);
  });

  it("sends a lost message again a minute after D1's mark stopped, however much comes in between", async () => {
    const account = await openAccount(10_000);
    passTime(SECOND_MS);
    queue.send.mockResolvedValueOnce({} as never); // the queue took it, and lost it
    await runDurableObjectAlarm(account.stub);
    expect(queue.sequences()).toEqual([]);
    const lostAt = Date.now();
    while (!queue.sequences().flat().includes(1) && Date.now() - lostAt < 10 * MINUTE_MS) {
      await settleOne(account); // what D1 gets now leaves a gap: its mark stays where it is
      passTime(SECOND_MS);
      await runDurableObjectAlarm(account.stub);
    }
    expect(Date.now() - lostAt).toBe(MINUTE_MS);
    const again = queue.sequences().flat();
    expect(again.slice(again.indexOf(1))).toEqual(
      Array.from({ length: (await books(account.stub)).last }, (_, i) => i + 1),
    );
  });

  it("believes D1's mark alone: forward, whole, and never past what was written", async () => {
    const account = await openAccount(1_000);
    await settleOne(account);
    const marks: number[] = [];
    for (const mark of [3, 2 ** 53, Number.NaN, 0.5, -1, 0, 1, 0, 2, 1]) {
      await account.stub.forwarded(mark);
      marks.push((await account.stub.progress()).mark);
    }
    expect(marks).toEqual([0, 0, 0, 0, 0, 0, 1, 1, 2, 2]);
  });

  it("sends from D1's mark again when the object starts again", async () => {
    const account = await openAccount(1_000);
    await settleOne(account);
    passTime(SECOND_MS);
    await runDurableObjectAlarm(account.stub);
    await account.stub.forwarded(1);
    await evictDurableObject(account.stub);
    await account.stub.progress();
    passTime(SECOND_MS);
    await runDurableObjectAlarm(account.stub);
    expect(queue.sequences()).toEqual([[1, 2], [2]]);
  });

  it("rings no more when D1 has everything, also when D1 said so just after a restart", async () => {
    const account = await openAccount(1_000);
    await settleOne(account);
    passTime(SECOND_MS);
    await runDurableObjectAlarm(account.stub);
    await evictDurableObject(account.stub);
    await account.stub.forwarded(2);
    passTime(2 * MINUTE_MS);
    await runDurableObjectAlarm(account.stub); // one that was set before, at most
    passTime(86_400_000);
    await runDurableObjectAlarm(account.stub); // the request's own deadline
    expect(await alarmOf(account.stub)).toBeNull();
  });

  it("goes on from the first message that the queue refused, and never throws", async () => {
    const account = await openAccount(1_000);
    for (let i = 0; i < 60; i++) await settleOne(account);
    queue.send
      .mockImplementationOnce(async (message) => void queue.sent.push(message) as never)
      .mockRejectedValueOnce(new Error("queue is down"));
    passTime(SECOND_MS);
    await runDurableObjectAlarm(account.stub);
    expect(queue.sequences()).toEqual([Array.from({ length: 50 }, (_, i) => i + 1)]);
    const next = await alarmOf(account.stub);
    expect(next).toBeLessThanOrEqual(Date.now() + MINUTE_MS);
    await settleOne(account);
    passTime(SECOND_MS);
    await runDurableObjectAlarm(account.stub);
    expect(queue.sequences()[1]).toEqual(Array.from({ length: 12 }, (_, i) => i + 51));
  });

  it("rings on through seven refusals, and sends everything when the queue is back", async () => {
    const account = await openAccount(1_000);
    queue.send.mockRejectedValue(new Error("queue is down"));
    for (let i = 0; i < 7; i++) {
      const at = await alarmOf(account.stub);
      expect(at).toBeGreaterThan(Date.now());
      passTime(at! - Date.now());
      await runDurableObjectAlarm(account.stub);
    }
    queue.send.mockImplementation(async (message) => void queue.sent.push(message) as never);
    passTime((await alarmOf(account.stub))! - Date.now());
    await runDurableObjectAlarm(account.stub);
    expect(queue.sequences()).toEqual([[1]]);
  });

  it("works off more than one alarm's rows, a second apart", async () => {
    const account = await openAccount(0);
    await runInDurableObject(account.stub, async (object: AccountObject) => {
      for (let i = 1; i <= 1_001; i++) await object.credit(money(1), `credit ${i}`);
    });
    passTime(SECOND_MS);
    await runDurableObjectAlarm(account.stub);
    expect(queue.sequences().flat()).toHaveLength(1_000);
    expect(await alarmOf(account.stub)).toBe(Date.now() + SECOND_MS);
    passTime(SECOND_MS);
    await runDurableObjectAlarm(account.stub);
    expect(queue.sequences().flat()).toEqual(Array.from({ length: 1_001 }, (_, i) => i + 1));
  });
});
