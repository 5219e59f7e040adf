/** `Idempotency-Key` in the account's object: one effect a key, whatever is asked at once, lost, or killed between. */
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import {
  admitQuery,
  books,
  fakeBackend,
  inStoppedTime,
  listBackends,
  openAccount,
  passTime,
  rowsOf,
  rowsWritten,
  saidOf,
  settlement,
  usageOf,
} from "../../test/money/fixture.ts";
import { DAY_MS } from "../clock.ts";
import { newKeyId } from "../ids.ts";
import { NO_USAGE } from "../money.ts";
import type { AccountObject } from "./account.ts";

inStoppedTime();

const once = { id: "i".repeat(64), fingerprint: "f".repeat(64) };
const ENDED = "409 idempotent_request_ended";
const RUNNING = "409 idempotent_request_in_flight";

describe("a request with an idempotency key", () => {
  it("runs once, of any number at once; the others are told to come again", async () => {
    const account = await openAccount(1_000);
    const queries = Array.from({ length: 20 }, () => admitQuery(account, { once }));
    const answers = await Promise.all(queries.map((query) => account.stub.admit(query)));
    expect(answers.map(saidOf).filter((said) => said === "ok")).toHaveLength(1);
    const refused = answers.filter((answer) => !answer.ok);
    expect(refused).toHaveLength(19);
    const [winner] = queries.filter((_query, i) => answers[i].ok);
    for (const { error } of refused)
      expect(error).toMatchObject({
        status: 409,
        code: "idempotent_request_in_flight",
        retryAfterSeconds: 5,
        message: expect.stringContaining(winner.requestId),
      });
    expect(await books(account.stub)).toMatchObject({ held: 100, openReservations: 1, findings: [] });
  });

  it("has ended for 24 hours, names its request, and says that asking again is no use; also after a restart", async () => {
    const account = await openAccount(1_000);
    const query = admitQuery(account, { once });
    await account.stub.admit(query);
    await evictDurableObject(account.stub);
    expect(saidOf(await account.stub.admit(admitQuery(account, { once })))).toBe(RUNNING);
    await account.stub.settle(settlement(query.requestId, usageOf(60, 40)));
    await evictDurableObject(account.stub);
    const ended = await account.stub.admit(admitQuery(account, { once }));
    expect(ended).toMatchObject({ error: { status: 409, retryable: false } });
    expect(JSON.stringify(ended)).toContain(query.requestId);
    passTime(DAY_MS - 1);
    expect(saidOf(await account.stub.admit(admitQuery(account, { once })))).toBe(ENDED);
    passTime(1);
    expect(saidOf(await account.stub.admit(admitQuery(account, { once })))).toBe("ok");
    expect(saidOf(await account.stub.admit(admitQuery(account, { once })))).toBe(RUNNING);
  });

  it("with another body is a 422, running and ended, and changes nothing", async () => {
    const account = await openAccount(1_000);
    const query = admitQuery(account, { once });
    const other = { once: { ...once, fingerprint: "g".repeat(64) } };
    await account.stub.admit(query);
    expect(saidOf(await account.stub.admit(admitQuery(account, other)))).toBe("422 idempotency_key_reused");
    await account.stub.settle(settlement(query.requestId, usageOf(60, 40)));
    const before = await books(account.stub);
    expect(saidOf(await account.stub.admit(admitQuery(account, other)))).toBe("422 idempotency_key_reused");
    expect(await books(account.stub)).toEqual(before);
  });

  it.each([
    ["no money", { maxOutput: 5_000 }, "402 insufficient_balance"],
    ["a limit", {}, "429 rate_limit_exceeded"],
    ["a key that is not known", { keyHash: "nobody" }, "401 invalid_api_key"],
  ])("that was refused for %s leaves nothing behind", async (_name, more, said) => {
    const account = await openAccount(1_000, { requestsPerMinute: 1 });
    if (said.startsWith("429")) await account.stub.admit(admitQuery(account));
    expect(saidOf(await account.stub.admit(admitQuery(account, { ...more, once })))).toBe(said);
    expect(await rowsOf(account.stub, "idempotency")).toEqual([]);
  });

  it("that fails whole while it is written leaves neither its row nor a hold", async () => {
    const account = await openAccount(1_000);
    const absurd = admitQuery(account, { once: { ...once, fingerprint: null as never } });
    const threw = await runInDurableObject(account.stub, (object: AccountObject) =>
      object.admit(absurd).then(
        () => false,
        () => true,
      ),
    );
    expect(threw).toBe(true);
    await evictDurableObject(account.stub);
    expect(await rowsOf(account.stub, "reservations")).toEqual([]);
    expect(await books(account.stub)).toMatchObject({ held: 0, findings: [] });
    expect(saidOf(await account.stub.admit(admitQuery(account, { once })))).toBe("ok");
  });

  it.each([
    ["failed before anything was delivered", "backend_failed", false, NO_USAGE, "ok"],
    ["was refused by every backend", "refused", false, NO_USAGE, "ok"],
    ["passed its deadline before a token", "deadline", false, NO_USAGE, "ok"],
    ["failed after tokens were out", "backend_failed", true, NO_USAGE, ENDED],
    ["was charged, whatever was delivered", "client_left", false, usageOf(60, 0), ENDED],
    ["finished", "finished", true, usageOf(60, 40), ENDED],
  ] as const)("that %s: the same key then says so", async (_name, ending, delivered, usage, said) => {
    const account = await openAccount(1_000);
    const query = admitQuery(account, { once });
    await account.stub.admit(query);
    await account.stub.settle(settlement(query.requestId, usage, { ending, delivered }));
    expect(saidOf(await account.stub.admit(admitQuery(account, { once })))).toBe(said);
  });

  it("whose admission's reply was lost is free again when its backend knows nothing of it", async () => {
    await listBackends();
    const backend = fakeBackend();
    const account = await openAccount(1_000);
    const query = admitQuery(account, { once, deadlineMs: Date.now() });
    await account.stub.admit(query);
    backend.always = { state: "unknown" };
    await runDurableObjectAlarm(account.stub);
    expect(saidOf(await account.stub.admit(admitQuery(account, { once })))).toBe("ok");
  });

  it("costs one row more, and another at its end where it delivered nothing", async () => {
    const account = await openAccount(1_000);
    const query = admitQuery(account, { once });
    expect(await rowsWritten(account.stub, (object) => object.admit(query))).toEqual([1, 1]);
    const end = settlement(query.requestId, NO_USAGE, { ending: "refused", delivered: false });
    expect(await rowsWritten(account.stub, (object) => object.settle(end))).toEqual([1, 1, 1]);
  });

  it("makes a key once: asked again the key's id is told, and no second one is there", async () => {
    const account = await openAccount(0);
    const key = () => ({
      id: newKeyId(),
      name: "k",
      hash: newKeyId(),
      hint: "hint",
      requestsPerMinute: null,
      tokensPerMinute: null,
    });
    const first = key();
    expect(await account.stub.createKey(first, once)).toMatchObject({ id: first.id });
    expect(await account.stub.createKey(key(), once)).toMatchObject({
      status: 409,
      message: expect.stringContaining(first.id),
    });
    expect(await account.stub.createKey(key(), { ...once, fingerprint: "g" })).toMatchObject({ status: 422 });
    expect(await account.stub.listKeys()).toHaveLength(2);
  });
});

describe("old rows", () => {
  it("are taken away by alarms, some at a time, and none that still counts", async () => {
    const account = await openAccount(1_000_000);
    await runInDurableObject(account.stub, async (object: AccountObject) => {
      for (let i = 0; i < 1_200; i++) {
        const query = admitQuery(account, { once: { ...once, id: `id-${i}` }, maxInput: 1, maxOutput: 1 });
        await object.admit(query);
        await object.settle(settlement(query.requestId, usageOf(1, 1)));
      }
    });
    const left = async () => (await rowsOf(account.stub, "idempotency")).length;
    passTime(2 * DAY_MS - 1); // the last moment of the day after
    await runDurableObjectAlarm(account.stub);
    expect(await left()).toBe(1_200);
    passTime(1);
    const counts = [];
    for (let i = 0; i < 3; i++) {
      await runDurableObjectAlarm(account.stub);
      counts.push(await left());
      passTime(1_000);
    }
    expect(counts).toEqual([700, 200, 0]);
  });
});
