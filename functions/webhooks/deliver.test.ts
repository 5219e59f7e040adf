/** Deliveries over days and through losses: D1, the account's clock and the consumer are real; the far end is said. */
import {
  createExecutionContext,
  createMessageBatch,
  runDurableObjectAlarm,
  runInDurableObject,
  waitOnExecutionContext,
} from "cloudflare:test";
import { eq } from "drizzle-orm";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { addKey, db, edge, env, openAccount, type TestAccount } from "../../test/support/worker.ts";
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from "../clock.ts";
import { webhookDeliveries, webhookEndpoints, webhookEvents } from "../db/d1/schema.ts";
import { type EventId, newEventId } from "../ids.ts";
import type { Notice } from "../objects/notices.ts";
import { type DeliveryMessage, deliver } from "./deliver.ts";
import { dispatch, dispatchNotices, dispatchRegion, type Endpoint } from "./dispatch.ts";
import { seal, unseal } from "./secrets.ts";
import type { Letter, Outcome } from "./sender.ts";

let account: TestAccount;
let endpoint: Endpoint;
/** What the queue was sent: the test delivers it, or does not. */
let queued: DeliveryMessage[];
let sent: Letter[];
let answer: Partial<Outcome>;

const down: Partial<Outcome> = { status: 503, error: "Answered 503." };

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  vi.setSystemTime(Date.UTC(2040, 0, 1));
  [queued, sent, answer] = [[], [], { status: 200, error: null }];
  vi.spyOn(env.WEBHOOKS, "sendBatch").mockImplementation(async (messages) => {
    for (const { body } of messages) queued.push(body);
    return { metadata: {} } as never;
  });
  account = await anAccount();
  endpoint = await makeEndpoint(account);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const passTime = (ms: number) => vi.setSystemTime(Date.now() + ms);

/** With a key that may manage. */
async function anAccount(): Promise<TestAccount> {
  const made = await openAccount("1");
  return { ...made, ...(await addKey(made.object, made.id, ["manage"])) };
}

async function makeEndpoint(owner: TestAccount, events = ["key.revoked"]): Promise<Endpoint> {
  const body = { url: "https://hooks.acme.com/x", events };
  const made = (await (await edge("POST", "/v1/webhooks", owner.key, body)).json()) as { id: Endpoint["id"] };
  return (await db.select().from(webhookEndpoints).where(eq(webhookEndpoints.id, made.id)).get())!;
}

const event = (id: EventId = newEventId()) => ({
  id,
  type: "key.revoked" as const,
  at: Date.now(),
  data: { n: 1 },
});

/** Runs the consumer on what the queue holds, to the end of its attempts. */
async function run(on = env): Promise<void> {
  const messages = queued
    .splice(0)
    .map((body, i) => ({ id: String(i), timestamp: new Date(), attempts: 1, body }));
  if (messages.length === 0) return;
  const ctx = createExecutionContext();
  const sender = {
    send: async (letter: Letter) => {
      sent.push(letter);
      return { ms: 1, retryAfter: null, status: null, error: null, ...answer };
    },
  };
  await deliver(
    createMessageBatch<DeliveryMessage>("causeway-webhooks", messages),
    { ...on, SENDER: sender as never },
    ctx,
  );
  await waitOnExecutionContext(ctx);
}

const ring = () => runDurableObjectAlarm(env.DELIVERIES.getByName(account.id));
const deliveries = (of = endpoint) =>
  db
    .select()
    .from(webhookDeliveries)
    .where(eq(webhookDeliveries.endpoint, of.id))
    .orderBy(webhookDeliveries.id);
const now = async () =>
  (await db.select().from(webhookEndpoints).where(eq(webhookEndpoints.id, endpoint.id)).get())!;

/** From one alarm to the next, as they are set, until nothing waits. */
async function days(most: number): Promise<number> {
  const started = Date.now();
  while (Date.now() - started < most * DAY_MS) {
    const [row] = (await deliveries()).filter(({ state }) => state === "pending");
    if (!row) break;
    vi.setSystemTime(Math.max(Date.now(), row.nextAttemptAt!));
    await ring();
    await run();
  }
  return Date.now() - started;
}

describe("a delivery", () => {
  it("that always fails is tried over days under one id, and disables its endpoint, saying why", async () => {
    answer = down;
    await dispatch(env, [{ event: event(), endpoint }]);
    await run();
    const took = await days(10);
    expect(took).toBeGreaterThan(2.9 * DAY_MS);
    expect(await deliveries()).toMatchObject([{ state: "failed", nextAttemptAt: null }]);
    expect(sent.length).toBeGreaterThan(8);
    expect(new Set(sent.map(({ headers }) => headers["webhook-id"])).size).toBe(1);
    expect(new Set(sent.map(({ headers }) => headers["webhook-timestamp"])).size).toBe(sent.length);
    expect(await now()).toMatchObject({
      state: "disabled",
      disabledBecause: expect.stringMatching(
        /^Every attempt of 3 days failed\. The last one: Answered 503\.$/,
      ),
    });
  });

  it("that succeeds in between ends the endpoint's failing", async () => {
    answer = down;
    await dispatch(env, [{ event: event(), endpoint }]);
    await run();
    expect((await now()).failingSince).toBe(Date.now());
    answer = { status: 200, error: null };
    await days(1);
    expect(await now()).toMatchObject({ state: "enabled", failingSince: null });
    expect(await deliveries()).toMatchObject([
      { state: "delivered", attempts: [{ status: 503 }, { status: 200 }] },
    ]);
  });

  it("waits for as long as Retry-After asks", async () => {
    answer = { ...down, retryAfter: "7200" };
    await dispatch(env, [{ event: event(), endpoint }]);
    await run();
    expect((await deliveries())[0]!.nextAttemptAt).toBe(Date.now() + 2 * HOUR_MS);
  });

  it("is written once and sent once, however often it is dispatched and the queue repeats it", async () => {
    const one = event();
    for (let i = 0; i < 3; i++) await dispatch(env, [{ event: one, endpoint }]);
    expect(queued).toHaveLength(1);
    queued.push(...queued, ...queued);
    await run();
    queued.push({ delivery: (await deliveries())[0]!.id, endpoint: endpoint.id, account: account.id });
    await run();
    expect(sent).toHaveLength(1);
    expect(await deliveries()).toMatchObject([{ state: "delivered", tries: 1 }]);
  });

  it("whose message the queue loses is brought back by the clock within 15 s", async () => {
    await dispatch(env, [{ event: event(), endpoint }]);
    queued = [];
    passTime(15 * SECOND_MS);
    await ring();
    await run();
    expect(await deliveries()).toMatchObject([{ state: "delivered" }]);
  });

  it("whose attempt dies with its isolate is due again when the claim ends, and not before", async () => {
    await dispatch(env, [{ event: event(), endpoint }]);
    const [message] = queued;
    const ctx = createExecutionContext();
    let died = () => {};
    const never = new Promise<Outcome>((resolve) => {
      died = () => resolve({ status: 500, ms: 1, error: "late", retryAfter: null });
    });
    const batch = createMessageBatch<DeliveryMessage>("causeway-webhooks", [
      { id: "0", timestamp: new Date(), attempts: 1, body: message! },
    ]);
    await deliver(batch, { ...env, SENDER: { send: () => never } as never }, ctx);
    queued = [message!];
    await run();
    expect(sent).toHaveLength(0);
    passTime(MINUTE_MS);
    await ring();
    await run();
    expect(sent).toHaveLength(1);
    // What was given up for lost comes back after all: it changes nothing.
    died();
    await waitOnExecutionContext(ctx);
    expect(await deliveries()).toMatchObject([{ state: "delivered", tries: 1, attempts: [{ status: 200 }] }]);
    expect((await now()).failingSince).toBeNull();
  });

  it("to an endpoint whose secret cannot be read has failed, says so, and is not sent unsigned", async () => {
    await db
      .update(webhookEndpoints)
      .set({ secrets: [{ sealed: "A.AAAA.AAAA", hint: "AAAA", expiresAt: null }] })
      .where(eq(webhookEndpoints.id, endpoint.id));
    await dispatch(env, [{ event: event(), endpoint }]);
    await run();
    expect(sent).toEqual([]);
    expect(await deliveries()).toMatchObject([
      {
        state: "pending",
        attempts: [{ status: null, error: "The endpoint's secret cannot be read: rotate it." }],
      },
    ]);
  });

  it("to an endpoint that was disabled or deleted meanwhile is not sent", async () => {
    await dispatch(env, [{ event: event(), endpoint }]);
    await db.update(webhookEndpoints).set({ state: "disabled" }).where(eq(webhookEndpoints.id, endpoint.id));
    await run();
    expect(sent).toEqual([]);
    expect(await deliveries()).toMatchObject([{ state: "failed" }]);
  });

  it("that is older than 35 days is forgotten, with its event", async () => {
    const old = event();
    await dispatch(env, [{ event: old, endpoint }]);
    await run();
    passTime(36 * DAY_MS);
    await dispatch(env, [{ event: event(), endpoint }]);
    passTime(MINUTE_MS);
    await ring();
    expect((await deliveries()).map((row) => row.event)).not.toContain(old.id);
    expect(await db.select().from(webhookEvents).where(eq(webhookEvents.id, old.id))).toEqual([]);
    expect(await deliveries()).toHaveLength(1);
  });

  it("keeps its newest twenty attempts", async () => {
    answer = down;
    await dispatch(env, [{ event: event(), endpoint }]);
    for (let i = 0; i < 23; i++) {
      await run();
      await db
        .update(webhookDeliveries)
        .set({ nextAttemptAt: Date.now(), tries: 0, state: "pending" })
        .where(eq(webhookDeliveries.endpoint, endpoint.id));
      passTime(SECOND_MS);
      const [row] = await deliveries();
      queued = [{ delivery: row!.id, endpoint: endpoint.id, account: account.id }];
    }
    expect((await deliveries())[0]!.attempts).toHaveLength(20);
  });
});

describe("what is dispatched", () => {
  it("goes to the account's enabled endpoints that ask for it", async () => {
    const other = await makeEndpoint(account, ["balance.credited"]);
    const off = await makeEndpoint(account);
    await edge("PATCH", `/v1/webhooks/${off.id}`, account.key, { state: "disabled" });
    const strange = await makeEndpoint(await anAccount());
    const notice = event();
    await dispatchNotices(env, account.id, [notice]);
    expect(await deliveries()).toMatchObject([{ event: notice.id, account: account.id }]);
    for (const none of [other, off, strange]) expect(await deliveries(none)).toEqual([]);
  });

  it("is let go of by its object only when D1 has it", async () => {
    await account.object.revokeKey(account.keyId);
    const waiting = () =>
      runInDurableObject(account.object, (_object, state) =>
        state.storage.sql.exec("select id, type, at, data from notices").toArray(),
      );
    const rows = await waiting();
    const notices = rows.map((row) => ({
      ...row,
      data: JSON.parse(String(row.data)),
    })) as unknown as Notice[];
    const broken = { ...env, WEBHOOKS: { sendBatch: () => Promise.reject(new Error("down")) } as never };
    await expect(dispatchNotices(broken, account.id, notices)).rejects.toThrow("down");
    expect(await waiting()).toEqual(rows);
    // Its deliveries are in D1 by now. Told again, they are not doubled; the clock has them sent.
    await dispatchNotices(env, account.id, notices);
    expect(await waiting()).toEqual([]);
    expect(await deliveries()).toHaveLength(1);
    passTime(MINUTE_MS);
    await ring();
    await run();
    expect(sent).toHaveLength(1);
  });

  it("of a region goes to every account that asks, once", async () => {
    const both = ["region.down", "region.recovered"];
    const first = await makeEndpoint(account, both);
    const second = await makeEndpoint(await anAccount(), both);
    const id = newEventId();
    const fall = { id, type: "region.down" as const, at: Date.now(), data: { region: "eu-west" } };
    for (let i = 0; i < 2; i++) await dispatchRegion(env, fall);
    for (const one of [first, second]) expect(await deliveries(one)).toMatchObject([{ event: id }]);
    expect(await deliveries()).toEqual([]);
  });
});

describe("an endpoint under an Idempotency-Key", () => {
  const make = async (path: string, key = "make-1", more = {}) => {
    const body = { url: `https://hooks.acme.com/${path}`, events: ["key.revoked"], ...more };
    const response = await edge("POST", "/v1/webhooks", account.key, body, { "idempotency-key": key });
    const answer = (await response.json()) as any;
    return { status: response.status, code: answer.error?.code, headers: response.headers, answer };
  };
  const standing = async () =>
    ((await (await edge("GET", "/v1/webhooks", account.key)).json()) as any).data.map((one: any) => one.url);

  it("is made once: the same again is told which, another body is refused", async () => {
    const first = await make("a");
    expect(first.status).toBe(201);
    const again = await make("a");
    expect([again.status, again.code, again.headers.get("x-should-retry")]).toEqual([
      409,
      "idempotent_request_ended",
      "false",
    ]);
    expect(again.answer.error.message).toContain(first.answer.id);
    expect([(await make("b")).status, (await make("b")).code]).toEqual([422, "idempotency_key_reused"]);
    // It was made: that it is gone does not make it again.
    await edge("DELETE", `/v1/webhooks/${first.answer.id}`, account.key);
    passTime(HOUR_MS);
    expect((await make("a")).code).toBe("idempotent_request_ended");
    passTime(DAY_MS);
    expect((await make("a")).status).toBe(201);
  });

  it("whose maker died is in flight for a while, then made by who asks again, under the same id", async () => {
    const claim = vi.spyOn(crypto.subtle, "encrypt").mockRejectedValueOnce(new Error("the isolate dies"));
    expect((await make("c")).status).toBe(500);
    claim.mockRestore();
    const waits = await make("c");
    expect([waits.status, waits.code, waits.headers.get("retry-after")]).toEqual([
      409,
      "idempotent_request_in_flight",
      "5",
    ]);
    passTime(31 * SECOND_MS);
    const both = await Promise.all([make("c"), make("c")]);
    expect(both.map(({ status }) => status).sort()).toEqual([201, 409]);
    expect((await standing()).filter((url: string) => url.endsWith("/c"))).toHaveLength(1);
  });

  it("that was refused may be asked for again", async () => {
    for (let n = 1; n < 10; n++) await make(`more-${n}`, `more-${n}`);
    expect((await make("d", "late")).code).toBe("too_many_endpoints");
    const { id } = (await db
      .select()
      .from(webhookEndpoints)
      .where(eq(webhookEndpoints.account, account.id))
      .get()) as Endpoint;
    await edge("DELETE", `/v1/webhooks/${id}`, account.key);
    expect((await make("d", "late")).status).toBe(201);
  });
});

describe("a secret at rest", () => {
  it("is read by its own endpoint and its own edge secret alone", async () => {
    const sealed = await seal(env, endpoint.id, "whsec_secret");
    expect(sealed).not.toContain("secret");
    expect(await seal(env, endpoint.id, "whsec_secret")).not.toBe(sealed);
    expect(await unseal(env, endpoint.id, sealed)).toBe("whsec_secret");
    expect(await unseal(env, "whep_other", sealed)).toBeUndefined();
    const others = { ...env, KEY_SECRET_A: "another-secret-of-32-characters!" };
    expect(await unseal(others, endpoint.id, sealed)).toBeUndefined();
    for (const wrong of [
      "",
      "A",
      "A.x.y",
      `B${sealed.slice(1)}`,
      `${sealed.slice(0, -4)}AAAA`,
      sealed.slice(2),
    ])
      expect(await unseal(env, endpoint.id, wrong), wrong).toBeUndefined();
    // The next letter takes over; what the first one sealed is still read.
    const moving = { ...env, KEY_SECRET_B: "b-secret-of-the-edge-0123456789a" };
    expect(await unseal(moving, endpoint.id, sealed)).toBe("whsec_secret");
    expect(await seal(moving, endpoint.id, "x")).toMatch(/^B\./);
    await expect(seal({ ...env, KEY_SECRET_A: "short" }, endpoint.id, "x")).rejects.toThrow("KEY_SECRET_A");
  });
});
