/** What becomes of a request that nobody settled. Each row of billing/README.md's second table is a test here. */
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from "../../functions/clock.ts";
import type { RequestId } from "../../functions/ids.ts";
import type { AccountObject } from "../../functions/objects/account.ts";
import { ORPHAN_CHECK_MS } from "../../functions/objects/expiry.ts";
import {
  type Account,
  admitted,
  alarmOf,
  BACKEND,
  books,
  catchQueue,
  env,
  fakeBackend,
  listBackends,
  money,
  openAccount,
  passTime,
  report,
  rowsOf,
  type Said,
  SILENT,
  settlement,
  stopClock,
  usageOf,
} from "./fixture.ts";

const DEADLINE_MS = 10 * MINUTE_MS;

let backend: ReturnType<typeof fakeBackend>;
let queue: ReturnType<typeof catchQueue>;
beforeEach(async () => {
  stopClock();
  await listBackends();
  queue = catchQueue();
  backend = fakeBackend();
  vi.spyOn(console, "error").mockImplementation(() => undefined);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const ring = async (account: Account) => {
  passTime(Math.max(0, (await alarmOf(account.stub))! - Date.now()));
  await runDurableObjectAlarm(account.stub);
};

/** Lets a request meet its deadline, with the backend saying this of its attempt. */
async function overdue(
  account: Account,
  says: Said,
  checkpoint?: ReturnType<typeof usageOf>,
): Promise<RequestId> {
  const requestId = await admitted(account, { deadlineMs: Date.now() + DEADLINE_MS });
  const attempt = `${requestId}.1` as const;
  if (checkpoint)
    await account.stub.checkpoint({
      requestId,
      attempt,
      backend: BACKEND,
      region: "test-region",
      usage: checkpoint,
    });
  backend.says.set(attempt, says);
  passTime(DEADLINE_MS);
  await runDurableObjectAlarm(account.stub);
  return requestId;
}

const entryOf = async (account: Account, requestId: RequestId) =>
  (await rowsOf(account.stub, "journal")).filter((row) => row.request_id === requestId);

const never: Said = (signal) =>
  new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });

describe("a request past its deadline costs", () => {
  const checkpoint = usageOf(20, 7, { source: "edge" });
  it.each<[string, Said, ReturnType<typeof usageOf> | undefined, number, string]>([
    ["the backend's count, when the attempt is done", report("done", 30, 12), undefined, 42, "backend"],
    ["the backend's count, before any checkpoint", report("done", 30, 12), checkpoint, 42, "backend"],
    [
      "what the backend had generated when the abort reached it",
      report("aborted", 30, 3),
      undefined,
      33,
      "backend",
    ],
    [
      "the backend's last running count, when the attempt failed",
      report("failed", 30, 2),
      undefined,
      32,
      "backend",
    ],
    ["nothing, when the backend does not know the attempt", { state: "unknown" }, undefined, 0, "backend"],
    [
      "the checkpoint, when the backend does not know the attempt",
      { state: "unknown" },
      checkpoint,
      27,
      "edge",
    ],
    ["nothing, when the backend cannot be reached", "unreachable", undefined, 0, "backend"],
    ["the checkpoint, when the backend cannot be reached", "unreachable", checkpoint, 27, "edge"],
    ["nothing, when the count is negative", report("done", 30, -1), undefined, 0, "backend"],
    ["nothing, when the count is no number", report("done", 30, "12"), undefined, 0, "backend"],
    ["nothing, when the count is past what was asked for", report("done", 30, 41), undefined, 0, "backend"],
    ["the checkpoint, when the count is absurd", report("done", 2 ** 53, 12), checkpoint, 27, "edge"],
    [
      "nothing, when more was cached than the prompt has",
      report("done", 30, 12, 31),
      undefined,
      0,
      "backend",
    ],
    [
      "nothing, when checkpoint and count are both absurd",
      report("done", null, null),
      usageOf(-5, 7),
      0,
      "backend",
    ],
    [
      "nothing, when a checkpoint alone is past the hold",
      { state: "unknown" },
      usageOf(60, 4_000),
      0,
      "backend",
    ],
  ])("%s", async (_name, says, counted, cost, source) => {
    const account = await openAccount(1_000);
    const requestId = await overdue(account, says, counted);
    expect(await entryOf(account, requestId)).toMatchObject([
      { kind: "usage", ending: "expired", amount: 0 - cost, source },
    ]);
    expect(await books(account.stub)).toMatchObject({
      balance: 1_000 - cost,
      held: 0,
      openReservations: 0,
      findings: [],
    });
    expect(backend.asked).toEqual([`DELETE ${requestId}.1`]);
    expect(await rowsOf(account.stub, "inquiries")).toHaveLength(says === "unreachable" ? 1 : 0);
  });

  it.each<[string, number, Said]>([
    ["an error", 0, () => new Response("no", { status: 500 })],
    [
      "a redirect",
      0,
      () => new Response(null, { status: 302, headers: { location: "http://elsewhere.test" } }),
    ],
    ["no JSON", 0, () => new Response("<html>")],
    ["a state that there is not", 0, () => Response.json({ ...report("done", 1, 1), state: "finished" })],
    ["megabytes", 0, () => Response.json({ ...report("done", 1, 1), error: "x".repeat(1_000_000) })],
    ["nothing within 2 s", 0, never],
  ])("nothing, and is asked about again, when the backend answers with %s", async (_name, cost, says) => {
    const account = await openAccount(1_000);
    await overdue(account, says);
    expect(await books(account.stub)).toMatchObject({ balance: 1_000 - cost, held: 0, findings: [] });
    expect(await rowsOf(account.stub, "inquiries")).toHaveLength(1);
  });

  it("nothing, for good, when its backend keeps no attempts or is not listed any more", async () => {
    const account = await openAccount(1_000);
    for (const id of [SILENT, "bknd_gone"])
      await admitted(account, { backend: id, deadlineMs: Date.now() + DEADLINE_MS });
    passTime(DEADLINE_MS);
    await runDurableObjectAlarm(account.stub);
    expect(await books(account.stub)).toMatchObject({ balance: 1_000, held: 0, findings: [] });
    expect(backend.asked).toEqual([]);
    expect(await rowsOf(account.stub, "inquiries")).toEqual([]);
  });

  it("what its last attempt used: after a failover the first one's count is no checkpoint any more", async () => {
    const account = await openAccount(1_000);
    const requestId = await admitted(account, { deadlineMs: Date.now() + DEADLINE_MS });
    const at = { requestId, backend: BACKEND, region: "test-region" };
    await account.stub.checkpoint({ ...at, attempt: `${requestId}.1`, usage: usageOf(20, 7) });
    await account.stub.checkpoint({ ...at, attempt: `${requestId}.2` });
    passTime(DEADLINE_MS);
    await runDurableObjectAlarm(account.stub);
    expect(backend.asked).toEqual([`DELETE ${requestId}.2`]);
    expect((await books(account.stub)).balance).toBe(1_000);
  });

  it("what its settlement says, when that comes before: the alarm finds nothing to do", async () => {
    const account = await openAccount(1_000);
    const requestId = await admitted(account, { deadlineMs: Date.now() + DEADLINE_MS });
    await account.stub.settle(settlement(requestId, usageOf(10, 5)));
    passTime(DEADLINE_MS);
    await runDurableObjectAlarm(account.stub);
    expect(backend.asked).toEqual([]);
    expect(await books(account.stub)).toMatchObject({ balance: 985, findings: [] });
  });

  it("nothing more when its settlement comes after", async () => {
    const account = await openAccount(1_000);
    const requestId = await overdue(account, report("done", 30, 12));
    expect(await account.stub.settle(settlement(requestId, usageOf(60, 40)))).toEqual({
      posted: false,
      cost: 42,
    });
    expect(await books(account.stub)).toMatchObject({ balance: 958, held: 0, findings: [] });
    expect(await entryOf(account, requestId)).toHaveLength(1);
  });

  /** The object itself: what another event does while the alarm waits for the backend. */
  async function meanwhile(
    account: Account,
    act: (object: AccountObject, requestId: RequestId) => Promise<unknown>,
  ) {
    let inside: AccountObject | undefined;
    await runInDurableObject(account.stub, (object: AccountObject) => {
      inside = object;
    });
    return async () => act(inside!, backend.asked.at(-1)!.split(" ")[1]!.replace(/\.1$/, "") as RequestId);
  }

  it("what its settlement says, when that comes while the backend is asked: one of the two posts", async () => {
    const account = await openAccount(1_000);
    const settle = await meanwhile(account, (object, request) =>
      object.settle(settlement(request, usageOf(10, 5))),
    );
    const requestId = await overdue(account, async () => {
      expect(await settle()).toEqual({ posted: true, cost: 15 });
      throw new TypeError("cut");
    });
    expect(await entryOf(account, requestId)).toMatchObject([{ ending: "finished", amount: -15 }]);
    expect(await rowsOf(account.stub, "inquiries")).toEqual([]);
    expect(await books(account.stub)).toMatchObject({ balance: 985, held: 0, findings: [] });
  });

  it("the other attempt's count, when the edge fails over while the first one is asked about", async () => {
    const account = await openAccount(1_000);
    const failOver = await meanwhile(account, (object, request) =>
      object.checkpoint({
        requestId: request,
        attempt: `${request}.2`,
        backend: BACKEND,
        region: "test-region",
      }),
    );
    const requestId = await overdue(account, async () => {
      await failOver();
      return Response.json(report("failed", 30, 2));
    });
    expect(await entryOf(account, requestId)).toEqual([]);
    backend.says.set(`${requestId}.2`, report("aborted", 30, 4));
    await ring(account);
    expect(await entryOf(account, requestId)).toMatchObject([{ amount: -34 }]);
  });

  it("the checkpoint that comes while the backend is asked in vain", async () => {
    const account = await openAccount(1_000);
    const checkpoint = await meanwhile(account, (object, request) =>
      object.checkpoint({
        requestId: request,
        attempt: `${request}.1`,
        backend: BACKEND,
        region: "test-region",
        usage: usageOf(20, 8),
      }),
    );
    const requestId = await overdue(account, async () => {
      await checkpoint();
      throw new TypeError("cut");
    });
    expect(await entryOf(account, requestId)).toMatchObject([{ amount: -28 }]);
  });
});

describe("a backend that could not be reached", () => {
  const askTimes = (account: Account, requestId: RequestId, times: number) => async () => {
    for (let i = 0; i < times; i++) await ring(account);
    return backend.asked.filter((asked) => asked === `DELETE ${requestId}.1`).length;
  };

  it("is asked again after 1 minute, 10 minutes and 1 hour, and then left alone", async () => {
    const account = await openAccount(1_000);
    const requestId = await overdue(account, "unreachable");
    const askedAt: number[] = [];
    let [last, count] = [Date.now(), 1];
    for (let i = 0; i < 20 && (await alarmOf(account.stub)) !== null; i++) {
      await account.stub.forwarded((await account.stub.progress()).last);
      await ring(account);
      if (backend.asked.length === count) continue; // the outbox rang
      askedAt.push(Date.now() - last);
      [last, count] = [Date.now(), backend.asked.length];
    }
    expect(askedAt).toEqual([MINUTE_MS, 10 * MINUTE_MS, HOUR_MS]);
    expect(new Set(backend.asked)).toEqual(new Set([`DELETE ${requestId}.1`]));
    expect(await rowsOf(account.stub, "inquiries")).toEqual([]);
    expect(await books(account.stub)).toMatchObject({ balance: 1_000, findings: [] });
  });

  it("is asked again after a restart of the object too", async () => {
    const account = await openAccount(1_000);
    const requestId = await overdue(account, "unreachable");
    await evictDurableObject(account.stub);
    backend.says.set(`${requestId}.1`, report("aborted", 30, 4));
    passTime(MINUTE_MS);
    await runDurableObjectAlarm(account.stub);
    expect(await entryOf(account, requestId)).toMatchObject([
      { amount: 0 },
      { kind: "adjustment", amount: -34 },
    ]);
  });

  it("gives its count late, as one adjustment over what the checkpoint cost", async () => {
    const account = await openAccount(1_000);
    const requestId = await overdue(account, "unreachable", usageOf(20, 7, { source: "edge" }));
    expect((await books(account.stub)).balance).toBe(973);
    backend.says.set(`${requestId}.1`, report("aborted", 30, 12));
    passTime(MINUTE_MS);
    expect(await askTimes(account, requestId, 3)()).toBe(2);
    expect(await entryOf(account, requestId)).toMatchObject([
      { kind: "usage", amount: -27, input: 20, output: 7, source: "edge" },
      { kind: "adjustment", amount: -15, input: 10, output: 5, source: "backend" },
    ]);
    expect(await books(account.stub)).toMatchObject({ balance: 958, findings: [] });
    expect(queue.sequences().flat()).toContain(3);
    expect(await account.stub.settle(settlement(requestId, usageOf(60, 40)))).toEqual({
      posted: false,
      cost: 42,
    });
  });

  it("costs nothing more with a late count below the checkpoint's, and gives nothing back", async () => {
    const account = await openAccount(1_000);
    const requestId = await overdue(account, "unreachable", usageOf(20, 7));
    backend.says.set(`${requestId}.1`, report("aborted", 20, 5));
    passTime(MINUTE_MS);
    await runDurableObjectAlarm(account.stub);
    expect(await entryOf(account, requestId)).toHaveLength(1);
    expect(await rowsOf(account.stub, "inquiries")).toEqual([]);
    expect((await books(account.stub)).balance).toBe(973);
  });

  it("never overdraws with a late count: it takes what is available", async () => {
    const account = await openAccount(110);
    const requestId = await overdue(account, "unreachable");
    await admitted(account); // holds 100 of the 110 that came free
    backend.says.set(`${requestId}.1`, report("done", 60, 40));
    passTime(MINUTE_MS);
    await runDurableObjectAlarm(account.stub);
    expect(await entryOf(account, requestId)).toMatchObject([{ amount: 0 }, { amount: -10 }]);
    expect(await books(account.stub)).toMatchObject({ balance: 100, held: 100, available: 0, findings: [] });
  });

  it("never costs more than the hold with a late count past it: that count is not believed", async () => {
    const account = await openAccount(1_000);
    const requestId = await overdue(account, "unreachable");
    backend.says.set(`${requestId}.1`, report("done", 61, 40));
    passTime(MINUTE_MS);
    await runDurableObjectAlarm(account.stub);
    expect(await entryOf(account, requestId)).toHaveLength(1);
    expect(await rowsOf(account.stub, "inquiries")).toEqual([]);
  });

  it("is not asked again when it answers that it knows no count", async () => {
    const account = await openAccount(1_000);
    const requestId = await overdue(account, "unreachable");
    backend.says.set(`${requestId}.1`, { state: "unknown" });
    passTime(MINUTE_MS);
    await runDurableObjectAlarm(account.stub);
    expect(await rowsOf(account.stub, "inquiries")).toEqual([]);
  });
});

describe("when the object has started again while requests were running", () => {
  async function orphan(account: Account, says: Said): Promise<RequestId> {
    const requestId = await admitted(account, { deadlineMs: Date.now() + DEADLINE_MS });
    backend.says.set(`${requestId}.1`, says);
    await evictDurableObject(account.stub);
    await account.stub.progress();
    return requestId;
  }

  it("one whose attempt has ended is settled when that was seen twice, long before its deadline", async () => {
    const account = await openAccount(1_000);
    const requestId = await orphan(account, report("done", 30, 12));
    const start = Date.now();
    await ring(account);
    expect(await entryOf(account, requestId)).toEqual([]);
    for (let i = 0; i < 10 && (await entryOf(account, requestId)).length === 0; i++) await ring(account);
    expect(await entryOf(account, requestId)).toMatchObject([
      { ending: "expired", amount: -42, finish_reason: "stop" },
    ]);
    expect(Date.now() - start).toBeLessThanOrEqual(3 * ORPHAN_CHECK_MS);
    expect(backend.asked).toEqual([`GET ${requestId}.1`, `GET ${requestId}.1`]);
  });

  it("one that still runs is left alone and not aborted, until its edge settles it", async () => {
    const account = await openAccount(1_000);
    const requestId = await orphan(account, report("running", 30, 3));
    for (let i = 0; i < 20; i++) await ring(account);
    expect(await entryOf(account, requestId)).toEqual([]);
    expect(new Set(backend.asked)).toEqual(new Set([`GET ${requestId}.1`]));
    expect(await account.stub.settle(settlement(requestId, usageOf(30, 9)))).toEqual({
      posted: true,
      cost: 39,
    });
    expect(await books(account.stub)).toMatchObject({ balance: 961, held: 0, findings: [] });
  });

  it.each<[string, Said]>([
    ["is not known to the backend", { state: "unknown" }],
    ["cannot be asked about", "unreachable"],
    ["is queued", report("queued", 0, 0)],
  ])("one that %s waits for its deadline", async (_name, says) => {
    const account = await openAccount(1_000);
    const requestId = await orphan(account, says);
    for (let i = 0; i < 5; i++) await ring(account);
    expect(await entryOf(account, requestId)).toEqual([]);
    expect((await books(account.stub)).held).toBe(100);
  });

  it("an end is seen twice only five seconds apart, however often the alarm rings for other reasons", async () => {
    const account = await openAccount(10_000);
    const requestId = await orphan(account, report("done", 30, 12));
    const looks: number[] = [];
    const start = Date.now();
    for (let i = 0; i < 20 && (await entryOf(account, requestId)).length === 0; i++) {
      await account.stub.settle(settlement(await admitted(account), usageOf(1, 1))); // keeps the outbox ringing
      passTime(SECOND_MS);
      const before = backend.asked.length;
      await runDurableObjectAlarm(account.stub);
      if (backend.asked.length > before) looks.push(Date.now() - start);
    }
    expect(looks).toHaveLength(2);
    expect(looks[1]! - looks[0]!).toBe(ORPHAN_CHECK_MS);
  });

  it("the ends of two attempts of one request are not one end seen twice", async () => {
    const account = await openAccount(1_000);
    const requestId = await orphan(account, report("failed", 30, 0));
    await ring(account);
    await account.stub.checkpoint({
      requestId,
      attempt: `${requestId}.2`,
      backend: BACKEND,
      region: "test-region",
    });
    backend.says.set(`${requestId}.2`, report("done", 30, 12));
    passTime(ORPHAN_CHECK_MS);
    await runDurableObjectAlarm(account.stub);
    expect(backend.asked.at(-1)).toBe(`GET ${requestId}.2`);
    expect(await entryOf(account, requestId)).toEqual([]); // its edge is alive and about to settle
  });

  it("an attempt that runs again after it was seen ended begins anew", async () => {
    const account = await openAccount(1_000);
    const requestId = await orphan(account, report("failed", 30, 0));
    for (const says of [report("running", 30, 1), report("done", 30, 2)]) {
      passTime(ORPHAN_CHECK_MS);
      await runDurableObjectAlarm(account.stub);
      backend.says.set(`${requestId}.1`, says);
    }
    passTime(ORPHAN_CHECK_MS);
    await runDurableObjectAlarm(account.stub);
    expect(await entryOf(account, requestId)).toEqual([]);
  });
});

describe("the alarm", () => {
  it("never throws when D1 cannot be read, rings on past the platform's six retries, and then settles", async () => {
    const account = await openAccount(1_000);
    const requestId = await admitted(account, { deadlineMs: Date.now() + DEADLINE_MS });
    backend.says.set(`${requestId}.1`, report("done", 30, 12));
    await account.stub.forwarded(1);
    const d1 = vi.spyOn(env.DB, "prepare").mockImplementation(() => {
      throw new Error("D1 is down");
    });
    passTime(DEADLINE_MS);
    for (let i = 0; i < 7; i++) {
      await ring(account);
      const at = await alarmOf(account.stub);
      expect(at).toBeGreaterThan(Date.now());
      expect(at).toBeLessThanOrEqual(Date.now() + MINUTE_MS);
    }
    expect(await books(account.stub)).toMatchObject({ balance: 1_000, held: 100, findings: [] });
    d1.mockRestore();
    await ring(account);
    expect(await books(account.stub)).toMatchObject({ balance: 958, held: 0, findings: [] });
  });

  it("sends the outbox also when the expiry cannot be done", async () => {
    const account = await openAccount(1_000);
    await admitted(account, { deadlineMs: Date.now() + SECOND_MS });
    vi.spyOn(env.DB, "prepare").mockImplementation(() => {
      throw new Error("D1 is down");
    });
    passTime(SECOND_MS);
    await runDurableObjectAlarm(account.stub);
    expect(queue.sequences()).toEqual([[1]]);
  });

  it("settles the others when one of them cannot be settled", async () => {
    const account = await openAccount(1_000);
    const first = await admitted(account, { deadlineMs: Date.now() + DEADLINE_MS });
    const others: RequestId[] = [];
    for (let i = 1; i <= 6; i++) {
      others.push(await admitted(account, { deadlineMs: Date.now() + DEADLINE_MS + i })); // asked about after it
    }
    backend.always = report("done", 30, 12);
    await runInDurableObject(account.stub, (_object, state) => {
      state.storage.sql.exec("update reservations set input_rate = -1 where request_id = ?", first); // has no price
    });
    passTime(DEADLINE_MS + 10);
    await runDurableObjectAlarm(account.stub);
    for (const requestId of others) expect(await entryOf(account, requestId)).toHaveLength(1);
    expect(await entryOf(account, first)).toEqual([]);
    expect(await alarmOf(account.stub)).toBeGreaterThan(Date.now());
  });

  it("spends a bounded time on backends that hang, then lets the outbox go, and comes back for the rest", async () => {
    const account = await openAccount(100_000);
    for (let i = 0; i < 100; i++) await admitted(account, { deadlineMs: Date.now() + DEADLINE_MS });
    backend.always = () => {
      passTime(500); // four of them take the two seconds that each may
      throw new TypeError("timed out");
    };
    passTime(DEADLINE_MS);
    const start = Date.now();
    await runDurableObjectAlarm(account.stub);
    expect(Date.now() - start).toBeLessThanOrEqual(25_000);
    expect(queue.sequences().flat()).toContain(2);
    const left = (await books(account.stub)).openReservations;
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThan(100);
    for (let i = 0; i < 5 && (await books(account.stub)).openReservations > 0; i++) await ring(account);
    expect(await books(account.stub)).toMatchObject({
      openReservations: 0,
      held: 0,
      balance: 100_000,
      findings: [],
    });
  });

  it("looks at every orphan in turn, also when there are more than one alarm can ask about", async () => {
    const account = await openAccount(100_000);
    const all: string[] = [];
    for (let i = 0; i < 60; i++)
      all.push(`GET ${await admitted(account, { deadlineMs: Date.now() + DAY_MS })}.1`);
    await evictDurableObject(account.stub);
    await account.stub.progress();
    backend.always = () => {
      passTime(500);
      return Response.json(report("running", 30, 1));
    };
    for (let i = 0; i < 2; i++) await ring(account);
    expect(new Set(backend.asked)).toEqual(new Set(all));
  });

  it("asks at most four backends at a time: an invocation has six connections", async () => {
    const account = await openAccount(100_000);
    for (let i = 0; i < 10; i++) await admitted(account, { deadlineMs: Date.now() + DEADLINE_MS });
    let [now, most] = [0, 0];
    backend.always = async () => {
      most = Math.max(most, ++now);
      await Promise.resolve();
      now--;
      return Response.json(report("done", 1, 1));
    };
    passTime(DEADLINE_MS);
    await runDurableObjectAlarm(account.stub);
    expect(most).toBeLessThanOrEqual(4);
    expect(await books(account.stub)).toMatchObject({ openReservations: 0, balance: 100_000 - 20 });
  });

  it("is set for the earliest deadline, and moved only to earlier", async () => {
    const account = await openAccount(1_000);
    await runDurableObjectAlarm(account.stub);
    await account.stub.forwarded(1);
    passTime(MINUTE_MS);
    await runDurableObjectAlarm(account.stub);
    expect(await alarmOf(account.stub)).toBeNull();
    const start = Date.now();
    await admitted(account, { deadlineMs: start + 50_000 });
    await admitted(account, { deadlineMs: start + 90_000 });
    expect(await alarmOf(account.stub)).toBe(start + 50_000);
    await admitted(account, { deadlineMs: start + 20_000 });
    expect(await alarmOf(account.stub)).toBe(start + 20_000);
  });

  it("takes a late settlement's price from the reservation, not from what the model costs now", async () => {
    const account = await openAccount(1_000);
    const price = {
      id: "price_then" as const,
      model: "test/model",
      effectiveAt: 0,
      input: money(2_000_000),
      cachedInput: money(0),
      output: money(0),
    };
    const requestId = await admitted(account, { price, deadlineMs: Date.now() + DEADLINE_MS });
    backend.says.set(`${requestId}.1`, report("done", 30, 12, 10));
    passTime(DEADLINE_MS);
    await runDurableObjectAlarm(account.stub);
    expect(await entryOf(account, requestId)).toMatchObject([
      { amount: -40, input: 20, cached_input: 10, price_id: "price_then" },
    ]);
  });
});
