/**
 * Webhooks in the running whole, to a receiver that checks them with the standard's own library, answers slowly,
 * hugely, wrongly or never, and forgets nothing.
 */
import { execFileSync } from "node:child_process";
import type { ServerResponse } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Faulty, startFaulty } from "../support/faulty.ts";
import {
  type Account,
  admin,
  ask,
  eventually,
  hello,
  MODEL,
  newAccount,
  register,
  startUpstream,
} from "../support/platform.ts";
import { Receiver, verify } from "../support/receiver.ts";

let edge: Faulty;
let receiver: Receiver;
beforeAll(async () => {
  receiver = await Receiver.start();
  edge = await startFaulty({
    WEBHOOK_ALLOW_LOOPBACK: "true",
    WEBHOOK_TIMEOUT_MS: "5000",
    WEBHOOK_RETRY_MS: "1500",
  });
});
afterAll(async () => {
  receiver?.stop();
  await edge?.run.stop();
});

/** With a key that may do all. */
const anAccount = (usd: string): Promise<Account> =>
  newAccount(edge.run, usd, { scopes: ["inference", "usage", "manage"] });

async function api(account: Account, method: string, path: string, body?: unknown) {
  const response = await fetch(new URL(`/v1${path}`, edge.run.url), {
    method,
    headers: { authorization: `Bearer ${account.key}` },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as any };
}

interface Endpoint {
  id: string;
  secret: string;
  path: string;
}

let paths = 0;
/** An endpoint of the account at a path of its own. */
async function endpoint(
  account: Account,
  events: string[],
  behave?: Parameters<Receiver["on"]>[1],
): Promise<Endpoint> {
  const path = `/hook-${++paths}`;
  if (behave) receiver.on(path, behave);
  const { status, body } = await api(account, "POST", "/webhooks", { url: receiver.url + path, events });
  expect({ status, body }).toMatchObject({ status: 201, body: { state: "enabled", events } });
  return { id: body.id, secret: body.secret, path };
}

const credit = (account: Account, amount: string, reference: string) =>
  admin(edge.run, "POST", `/accounts/${account.id}/credits`, { amount, reference });

const deliveries = async (account: Account, id: string) =>
  (await api(account, "GET", `/webhooks/${id}/deliveries`)).body.data as any[];

/** The newest delivery, as soon as it looks so. */
const delivery = (account: Account, id: string, looks: (one: any) => boolean) =>
  eventually(async () => (await deliveries(account, id)).find(looks), `a delivery of ${id}`);

describe.concurrent("what is told", () => {
  it("is a credit, signed as Standard Webhooks has it, to the endpoints that asked, and kept as delivered", async () => {
    const account = await anAccount("0");
    const hook = await endpoint(account, ["balance.credited"]);
    const other = await endpoint(account, ["key.revoked"]);
    await credit(account, "12.5", "invoice-1");
    const [received] = await receiver.gets(hook.path);
    expect(received.method).toBe("POST");
    expect(received.headers["content-type"]).toBe("application/json");
    const sent = verify(hook.secret, received);
    expect(sent).toEqual({
      type: "balance.credited",
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
      data: {
        account: account.id,
        amount: "12.5",
        amount_nanodollars: "12500000000",
        balance: "12.5",
        balance_nanodollars: "12500000000",
        reference: "invoice-1",
      },
    });
    expect(() => verify(other.secret, received)).toThrow();
    const done = await delivery(account, hook.id, (one) => one.state === "delivered");
    expect(done).toMatchObject({
      id: expect.stringMatching(/^whdl_/),
      event: { id: received.headers["webhook-id"], type: "balance.credited", created_at: sent.timestamp },
      attempts: [{ status: 204, error: null, duration_ms: expect.any(Number) }],
      next_attempt_at: null,
    });
    expect(receiver.at(other.path)).toEqual([]);
    expect(await deliveries(account, other.id)).toEqual([]);
  });

  it("is a low balance once, however many requests run below the line, and its end once", async () => {
    const account = await anAccount("1");
    const hook = await endpoint(account, ["balance.low", "balance.low.recovered", "usage.threshold"]);
    const thresholds = { balance_low: "0.9999", usage: [{ period: "day", amount: "0.0001" }] };
    expect(await api(account, "PUT", "/alerts", thresholds)).toMatchObject({
      status: 200,
      body: { balance_low: "0.9999", balance_low_nanodollars: "999900000" },
    });
    for (let i = 0; i < 12; i++) await (await ask(edge.run, account.key, hello())).text();
    const [low] = await receiver.gets(hook.path, 1, "balance.low");
    const [spent] = await receiver.gets(hook.path, 1, "usage.threshold");
    await credit(account, "5", "top-up");
    await receiver.gets(hook.path, 1, "balance.low.recovered");
    // The line is crossed again, at the end: had an event been told twice, it would have come before this one.
    await api(account, "PUT", "/alerts", { ...thresholds, balance_low: "7" });
    const lows = await receiver.gets(hook.path, 2, "balance.low");
    expect(
      receiver
        .at(hook.path)
        .map(({ body }) => JSON.parse(body).type)
        .sort(),
    ).toEqual(["balance.low", "balance.low", "balance.low.recovered", "usage.threshold"]);
    expect(verify(hook.secret, low).data).toMatchObject({
      threshold: "0.9999",
      threshold_nanodollars: "999900000",
    });
    expect(Number(verify(hook.secret, low).data.balance)).toBeLessThan(0.9999);
    expect(verify(hook.secret, spent).data).toMatchObject({ period: "day", amount: "0.0001" });
    expect(lows[1].headers["webhook-id"]).not.toBe(low.headers["webhook-id"]);
  });

  it("is a key that was revoked, once", async () => {
    const account = await anAccount("1");
    const hook = await endpoint(account, ["key.revoked", "balance.credited"]);
    const key = await admin<{ id: string; hint: string }>(edge.run, "POST", `/accounts/${account.id}/keys`, {
      name: '=cmd|"<script>"',
    });
    for (let i = 0; i < 2; i++) await admin(edge.run, "DELETE", `/accounts/${account.id}/keys/${key.id}`);
    await receiver.gets(hook.path, 1, "key.revoked");
    await credit(account, "1", "after");
    const all = await receiver.gets(hook.path, 2);
    expect(verify(hook.secret, all[0]).data).toEqual({
      account: account.id,
      key: { id: key.id, name: '=cmd|"<script>"', hint: key.hint },
    });
    expect(all.map((one) => JSON.parse(one.body).type)).toEqual(["key.revoked", "balance.credited"]);
  });

  it("is a test, whatever the endpoint asked for, and again what is asked for again, under the same id", async () => {
    const account = await anAccount("1");
    const hook = await endpoint(account, ["key.revoked"]);
    const test = await api(account, "POST", `/webhooks/${hook.id}/test`);
    expect(test).toMatchObject({ status: 202, body: { state: "pending", event: { type: "test" } } });
    const [first] = await receiver.gets(hook.path);
    expect(verify(hook.secret, first)).toMatchObject({ type: "test", data: { webhook: hook.id } });
    const done = await delivery(account, hook.id, (one) => one.state === "delivered");
    expect(await api(account, "POST", `/webhooks/deliveries/${done.id}/replay`)).toMatchObject({
      status: 202,
    });
    const [, second] = await receiver.gets(hook.path, 2);
    expect(second.body).toBe(first.body);
    expect(second.headers["webhook-id"]).toBe(first.headers["webhook-id"]);
    const again = await delivery(
      account,
      hook.id,
      (one) => one.state === "delivered" && one.attempts.length === 2,
    );
    expect(again.id).toBe(done.id);
  });
});

describe.concurrent("secrets", () => {
  it("are two while one replaces the other: each signs, and without overlap the old one is done at once", async () => {
    const account = await anAccount("1");
    const hook = await endpoint(account, ["key.revoked"]);
    const test = async (count: number) => {
      await api(account, "POST", `/webhooks/${hook.id}/test`);
      return (await receiver.gets(hook.path, count))[count - 1];
    };
    const rotated = (await api(account, "POST", `/webhooks/${hook.id}/rotate`, { overlap_seconds: 3_600 }))
      .body;
    expect(rotated.secrets).toEqual([
      { hint: rotated.secret.slice(-4), expires_at: null },
      { hint: hook.secret.slice(-4), expires_at: expect.stringMatching(/Z$/) },
    ]);
    const both = await test(1);
    expect(both.headers["webhook-signature"]).toMatch(/^v1,\S+ v1,\S+$/);
    verify(hook.secret, both);
    verify(rotated.secret, both);
    const last = (await api(account, "POST", `/webhooks/${hook.id}/rotate`, { overlap_seconds: 0 })).body;
    const one = await test(2);
    verify(last.secret, one);
    for (const old of [hook.secret, rotated.secret]) expect(() => verify(old, one)).toThrow();
  });

  it("are in one answer, and then nowhere: no answer, no log and no database has them", async () => {
    const account = await anAccount("1");
    const hook = await endpoint(account, ["key.revoked"]);
    await api(account, "POST", `/webhooks/${hook.id}/test`);
    await receiver.gets(hook.path);
    const seen = JSON.stringify([
      await api(account, "GET", "/webhooks"),
      await api(account, "GET", `/webhooks/${hook.id}`),
      await deliveries(account, hook.id),
      edge.run.output(),
    ]);
    const secret = hook.secret.slice("whsec_".length);
    expect(seen).not.toContain(secret);
    const found = (text: string) =>
      execFileSync("bash", [
        "-c",
        'grep -rlaF -- "$1" "$2" || true',
        "-",
        text,
        `${edge.run.stateDir}/v3`,
      ]).toString();
    expect(found(hook.id)).not.toBe("");
    expect(found(secret)).toBe("");
  });
});

describe.concurrent("an endpoint that", () => {
  it("fails is tried again later: the same id and body, its own time and signature, each attempt kept", async () => {
    const account = await anAccount("1");
    const hook = await endpoint(account, ["key.revoked"], (response, count) =>
      response.writeHead(count === 1 ? 500 : 200).end("<script>"),
    );
    await api(account, "POST", `/webhooks/${hook.id}/test`);
    const [first, second] = await receiver.gets(hook.path, 2);
    verify(hook.secret, first);
    verify(hook.secret, second);
    expect(second.body).toBe(first.body);
    for (const [header, same] of [
      ["webhook-id", true],
      ["webhook-timestamp", false],
      ["webhook-signature", false],
    ] as const) {
      expect(second.headers[header] === first.headers[header], header).toBe(same);
    }
    const done = await delivery(account, hook.id, (one) => one.state === "delivered");
    expect(done.attempts).toMatchObject([
      { status: 500, error: "Answered 500." },
      { status: 200, error: null },
    ]);
  });

  it("redirects has failed, and is not followed", async () => {
    const account = await anAccount("1");
    const hook = await endpoint(account, ["key.revoked"], (response) =>
      response.writeHead(307, { location: `${receiver.url}/secret-place` }).end(),
    );
    await api(account, "POST", `/webhooks/${hook.id}/test`);
    const failed = await delivery(account, hook.id, (one) => one.attempts.length > 0);
    expect(failed).toMatchObject({
      state: "pending",
      attempts: [{ status: 307, error: "Answered 307: redirects are not followed." }],
    });
    expect(receiver.at("/secret-place")).toEqual([]);
  });

  it("is gone (410) is disabled at once with what waits for it, and works again when it is enabled", async () => {
    const account = await anAccount("1");
    let gone = true;
    const hook = await endpoint(account, ["key.revoked"], (response) =>
      response.writeHead(gone ? 410 : 200).end(),
    );
    await api(account, "POST", `/webhooks/${hook.id}/test`);
    const failed = await delivery(account, hook.id, (one) => one.state === "failed");
    expect(failed).toMatchObject({ attempts: [{ status: 410 }], next_attempt_at: null });
    const disabled = { state: "disabled", disabled_because: "The endpoint answered 410 Gone." };
    expect((await api(account, "GET", `/webhooks/${hook.id}`)).body).toMatchObject(disabled);
    for (const path of [`/webhooks/${hook.id}/test`, `/webhooks/deliveries/${failed.id}/replay`]) {
      expect(await api(account, "POST", path)).toMatchObject({
        status: 400,
        body: { error: { code: "endpoint_disabled" } },
      });
    }
    gone = false;
    expect(await api(account, "PATCH", `/webhooks/${hook.id}`, { state: "enabled" })).toMatchObject({
      body: { state: "enabled", disabled_because: null },
    });
    await api(account, "POST", `/webhooks/deliveries/${failed.id}/replay`);
    await delivery(account, hook.id, (one) => one.id === failed.id && one.state === "delivered");
  });

  it("never answers, or answers hugely, in drops, or is cut off, costs a bounded time and is told why", async () => {
    const account = await anAccount("1");
    const made: Record<string, Endpoint> = {
      hangs: await endpoint(account, ["key.revoked"], () => {}),
      resets: await endpoint(account, ["key.revoked"], (response) => response.socket?.destroy()),
      huge: await endpoint(account, ["key.revoked"], (response) => {
        response.writeHead(200);
        const more = () => {
          while (response.write("x".repeat(65_536))) if (response.destroyed) return;
          response.once("drain", more);
        };
        more();
      }),
      drips: await endpoint(account, ["key.revoked"], (response) => {
        response.writeHead(200);
        const timer = setInterval(() => response.write("."), 100);
        response.on("close", () => clearInterval(timer));
      }),
    };
    for (const { id } of Object.values(made)) await api(account, "POST", `/webhooks/${id}/test`);
    const first = async (name: string) =>
      (await delivery(account, made[name].id, (one) => one.attempts.length > 0)).attempts[0];
    expect(await first("hangs")).toMatchObject({ status: null, error: "There was no answer within 5 s." });
    expect(await first("resets")).toMatchObject({ status: null, error: "The connection failed." });
    // Their status has been heard. What follows is not read to its end.
    expect(await first("huge")).toMatchObject({ status: 200, error: null });
    expect(await first("drips")).toMatchObject({ status: 200, error: null });
  });

  it("is slow delays nobody else, and has four attempts at a time", async () => {
    const slow = await anAccount("1");
    const quick = await anAccount("1");
    const hook = await endpoint(quick, ["key.revoked"]);
    const open = new Set<ServerResponse>();
    let [most, ended] = [0, 0];
    const tarpit = await endpoint(slow, ["key.revoked"], (response) => {
      open.add(response);
      most = Math.max(most, open.size);
      response.on("close", () => {
        open.delete(response);
        ended += 1;
      });
    });
    await Promise.all(Array.from({ length: 12 }, () => api(slow, "POST", `/webhooks/${tarpit.id}/test`)));
    // All of the slow one's are in the queue before this one.
    await api(quick, "POST", `/webhooks/${hook.id}/test`);
    await receiver.gets(hook.path);
    expect({ open: open.size, ended }).toEqual({ open: 4, ended: 0 });
    // As its places come free, the rest follows by itself.
    const release = setInterval(() => {
      for (const response of open) response.writeHead(200).end();
    }, 20);
    try {
      await eventually(
        async () =>
          (await deliveries(slow, tarpit.id)).every((one) => one.state === "delivered") ? true : undefined,
        "all of them to be delivered",
      );
    } finally {
      clearInterval(release);
    }
    expect(receiver.at(tarpit.path)).toHaveLength(12);
    expect(most).toBe(4);
  });
});

describe.concurrent("an account", () => {
  it("makes no endpoint at an address that is refused, and no threshold that cannot be", async () => {
    const account = await anAccount("1");
    for (const url of [
      "http://10.0.0.1/",
      "https://169.254.169.254/",
      "https://[::ffff:7f00:1]:1/",
      "javascript:1",
      "",
    ])
      expect(await api(account, "POST", "/webhooks", { url, events: ["key.revoked"] }), url).toMatchObject({
        status: 400,
        body: { error: { param: "url" } },
      });
    const url = `${receiver.url}/x`;
    for (const [param, body] of [
      ["events", { url, events: [] }],
      ["events.0", { url, events: ["everything"] }],
      ["description", { url, events: ["key.revoked"], description: "a\nb" }],
      ["secret", { url, events: ["key.revoked"], secret: "mine" }],
    ] as const)
      expect(await api(account, "POST", "/webhooks", body)).toMatchObject({
        status: 400,
        body: { error: { param } },
      });
    for (const [param, body] of [
      ["balance_low", { balance_low: "-1", usage: [] }],
      ["balance_low", { balance_low: 5, usage: [] }],
      ["usage.0.amount", { balance_low: null, usage: [{ period: "day", amount: "0" }] }],
      ["usage.0.period", { balance_low: null, usage: [{ period: "year", amount: "1" }] }],
    ] as const)
      expect(await api(account, "PUT", "/alerts", body)).toMatchObject({
        status: 400,
        body: { error: { param } },
      });
    expect((await api(account, "GET", "/webhooks")).body.data).toEqual([]);
    const text = '=HYPERLINK("http://x")<script>alert(1)</script>';
    const made = await api(account, "POST", "/webhooks", { url, events: ["key.revoked"], description: text });
    expect(made.body.description).toBe(text);
    expect((await api(account, "DELETE", `/webhooks/${made.body.id}`)).body).toEqual({
      id: made.body.id,
      deleted: true,
    });
    expect(await api(account, "GET", `/webhooks/${made.body.id}`)).toMatchObject({ status: 404 });
  });

  it("knows nothing of another's endpoints and deliveries: 404 on every route", async () => {
    const [owner, stranger] = [await anAccount("1"), await anAccount("1")];
    const hook = await endpoint(owner, ["key.revoked"]);
    await api(owner, "POST", `/webhooks/${hook.id}/test`);
    const { id } = await delivery(owner, hook.id, (one) => one.state === "delivered");
    for (const [method, path, body] of [
      ["GET", `/webhooks/${hook.id}`],
      ["PATCH", `/webhooks/${hook.id}`, { state: "disabled" }],
      ["DELETE", `/webhooks/${hook.id}`],
      ["POST", `/webhooks/${hook.id}/rotate`, {}],
      ["POST", `/webhooks/${hook.id}/test`],
      ["GET", `/webhooks/${hook.id}/deliveries`],
      ["POST", `/webhooks/deliveries/${id}/replay`],
    ] as const)
      expect(await api(stranger, method, path, body), path).toMatchObject({ status: 404 });
    expect((await api(stranger, "GET", "/webhooks")).body.data).toEqual([]);
    expect(await api(owner, "GET", `/webhooks/${hook.id}`)).toMatchObject({ body: { state: "enabled" } });
    expect(receiver.at(hook.path)).toHaveLength(1);
  });

  it("cannot be paid for where no Stripe is configured", async () => {
    const account = await anAccount("1");
    expect((await api(account, "GET", "/billing")).body).toEqual({ checkout: false });
    const none = { status: 503, body: { error: { code: "not_configured" } } };
    expect(await api(account, "POST", "/billing/checkout", { amount: "5" })).toMatchObject(none);
    const told = await fetch(new URL("/webhooks/stripe", edge.run.url), { method: "POST", body: "{}" });
    expect({ status: told.status, body: await told.json() }).toMatchObject(none);
  });
});

it("a region that falls silent and comes back is told to every account that asks, once each time", async () => {
  const [one, other] = [await anAccount("1"), await anAccount("1")];
  const both = ["region.down", "region.recovered"];
  const hooks = [await endpoint(one, both), await endpoint(other, both)];
  await (await ask(edge.run, one.key, hello())).text();
  await edge.upstream.kill();
  for (const { path } of hooks) await asking(one, () => receiver.gets(path, 1, "region.down"));
  await register(edge.run, await startUpstream(), `bknd_${MODEL}-0`);
  for (const { path } of hooks) await asking(one, () => receiver.gets(path, 1, "region.recovered"));
  for (const { path, secret } of hooks) {
    const told = receiver.at(path).map((received) => verify(secret, received));
    expect(told.map(({ type }) => type)).toEqual(both);
    expect(told[0].data).toEqual({ region: "us-east", name: "US East" });
  }
});

/** Pools look at their backends while requests come: asks again and again until it has happened. */
async function asking<T>(account: Account, happens: () => Promise<T>): Promise<T> {
  let done = false;
  const result = happens().finally(() => {
    done = true;
  });
  await eventually(
    async () => {
      if (done) return true;
      await (await ask(edge.run, account.key, hello())).text();
      return done || undefined;
    },
    "a region's change to be told",
    30_000,
  );
  return result;
}

it("what waits outlives a killed workerd, whose queue forgets it: each event arrives, under its one id", async () => {
  const account = await anAccount("0");
  let up = false;
  const hook = await endpoint(account, ["balance.credited"], (response) =>
    response.writeHead(up ? 200 : 503).end(),
  );
  await credit(account, "1", "before");
  await delivery(account, hook.id, (one) => one.attempts.length > 0);
  // The first waits for its next try, the second is in its object, when all of memory goes.
  await credit(account, "2", "while it dies");
  await edge.run.kill9Workerd();
  up = true;
  await eventually(
    async () => {
      const all = await deliveries(account, hook.id).catch(() => []);
      return all.length === 2 && all.every((one) => one.state === "delivered") ? true : undefined;
    },
    "both to be delivered",
    90_000,
  );
  const ids = new Map(
    receiver.at(hook.path).map((one) => [JSON.parse(one.body).data.reference, one.headers["webhook-id"]]),
  );
  expect(ids.size).toBe(2);
  for (const one of receiver.at(hook.path)) {
    verify(hook.secret, one);
    expect(one.headers["webhook-id"]).toBe(ids.get(JSON.parse(one.body).data.reference));
  }
});
