/**
 * Top-ups by Stripe, in the running whole: a local server speaks the part of Stripe's API that is used, and signs its
 * webhooks with Stripe's own scheme (its library's `generateTestHeaderString`). Real keys are all that is missing.
 */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import Stripe from "stripe";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Account, admin, audited, newAccount } from "../support/platform.ts";
import { type Run, startRun } from "../support/run.ts";

const KEY = "sk_test_0123456789abcdefghijklmn";
const SECRET = "whsec_0123456789abcdefghijklmn";

/** Stripe's checkout, as far as it is used: makes sessions, and knows whom it was asked for. */
class LocalStripe {
  readonly #server: Server;
  readonly sessions: { id: string; form: URLSearchParams; authorization: string }[] = [];
  status = 200;
  /** What came under an Idempotency-Key gets the same session again. */
  readonly #once = new Map<string, string>();

  constructor() {
    this.#server = createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      response.setHeader("content-type", "application/json");
      if (request.method !== "POST" || request.url !== "/v1/checkout/sessions") {
        response
          .writeHead(404)
          .end(JSON.stringify({ error: { type: "invalid_request_error", message: "no" } }));
        return;
      }
      if (this.status !== 200) {
        const error = { type: "api_error", message: `No such key: ${KEY}` };
        response.writeHead(this.status).end(JSON.stringify({ error }));
        return;
      }
      const key = String(request.headers["idempotency-key"]);
      const id = this.#once.get(key) ?? `cs_test_${this.sessions.length + 1}`;
      if (!this.#once.has(key)) {
        const authorization = request.headers.authorization ?? "";
        this.sessions.push({ id, form: new URLSearchParams(body), authorization });
        this.#once.set(key, id);
      }
      response.end(
        JSON.stringify({ id, object: "checkout.session", url: `https://checkout.stripe.com/c/pay/${id}` }),
      );
    });
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

const stripe = new LocalStripe();
let run: Run;
beforeAll(async () => {
  const url = await stripe.start();
  run = await startRun({
    engines: 0,
    vars: { STRIPE_SECRET_KEY: KEY, STRIPE_WEBHOOK_SECRET: SECRET, STRIPE_API_URL: url },
  });
});
afterAll(async () => {
  stripe.stop();
  await run?.stop();
});

/** With a key that may do all. */
const anAccount = (usd: string): Promise<Account> =>
  newAccount(run, usd, { scopes: ["inference", "usage", "manage"] });

const library = new Stripe(KEY);
let events = 0;

function paid(
  account: string | null,
  more: Record<string, unknown> = {},
  type = "checkout.session.completed",
) {
  const session = {
    id: `cs_test_paid_${++events}`,
    object: "checkout.session",
    client_reference_id: account,
    payment_status: "paid",
    currency: "usd",
    amount_subtotal: 2_000,
    amount_total: 2_380,
    ...more,
  };
  return { id: `evt_stripe_${events}`, object: "event", type, created: 1, data: { object: session } };
}

/** As Stripe sends it. */
async function tell(
  event: unknown,
  { secret = SECRET, at = Math.floor(Date.now() / 1000), signature }: Record<string, any> = {},
) {
  const payload = typeof event === "string" ? event : JSON.stringify(event, null, 2);
  const signed = () =>
    library.webhooks.generateTestHeaderString({ payload, secret, timestamp: at as number });
  const header = signature === undefined ? signed() : signature;
  const response = await fetch(new URL("/webhooks/stripe", run.url), {
    method: "POST",
    headers: { "content-type": "application/json", ...(header !== null && { "stripe-signature": header }) },
    body: payload,
  });
  return { status: response.status, body: (await response.json()) as any };
}

async function post(account: Account, path: string, body: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(new URL(path, run.url), {
    method: "POST",
    headers: { authorization: `Bearer ${account.key}`, "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as any };
}

const balanceOf = async (account: Account) =>
  (await admin<{ balance: string }>(run, "GET", `/accounts/${account.id}`)).balance;
const recorded = async (id: string) =>
  (await admin<{ data: any[] }>(run, "GET", "/stripe/events")).data.find((event) => event.id === id);

describe("a checkout", () => {
  it("is a session of Stripe's for whole cents, in the account's name", async () => {
    const account = await anAccount("0");
    const made = await post(account, "/v1/billing/checkout", { amount: "20.00" });
    const session = stripe.sessions.at(-1)!;
    expect(made).toEqual({
      status: 200,
      body: { id: session.id, url: `https://checkout.stripe.com/c/pay/${session.id}` },
    });
    expect(session.authorization).toBe(`Bearer ${KEY}`);
    expect(Object.fromEntries(session.form)).toMatchObject({
      mode: "payment",
      client_reference_id: account.id,
      "line_items[0][price_data][currency]": "usd",
      "line_items[0][price_data][unit_amount]": "2000",
      success_url: `${run.url}/dashboard/billing?checkout=done`,
    });
  });

  it.each(["-20", "0", "0.99", "10000.01", "20.005", "1e3", "", "=1+1", 20, null])(
    "of %j is refused before Stripe is asked",
    async (amount) => {
      const account = await anAccount("0");
      const before = stripe.sessions.length;
      expect(await post(account, "/v1/billing/checkout", { amount })).toMatchObject({
        status: 400,
        body: { error: { param: "amount" } },
      });
      expect(stripe.sessions.length).toBe(before);
    },
  );

  it("is begun once under an Idempotency-Key, and its page is given again", async () => {
    const account = await anAccount("0");
    const top = (amount: string, key: string) =>
      post(account, "/v1/billing/checkout", { amount }, { "idempotency-key": key });
    const before = stripe.sessions.length;
    const first = await top("20", "once");
    expect(first.status).toBe(200);
    expect(await top("20.00", "once")).toEqual(first);
    expect(await top("21", "once")).toMatchObject({
      status: 422,
      body: { error: { code: "idempotency_key_reused" } },
    });
    expect(stripe.sessions.length).toBe(before + 1);
    // What Stripe refused may be asked again, and is another try to Stripe.
    stripe.status = 402;
    expect((await top("5", "again")).status).toBe(503);
    stripe.status = 200;
    expect((await top("5", "again")).status).toBe(200);
    expect(stripe.sessions.length).toBe(before + 2);
  });

  it("while Stripe fails is a 503 that says nothing of the key", async () => {
    const account = await anAccount("0");
    stripe.status = 500;
    const answer = await post(account, "/v1/billing/checkout", { amount: "5" });
    stripe.status = 200;
    expect(answer).toMatchObject({ status: 503, body: { error: { code: "service_unavailable" } } });
    expect(JSON.stringify(answer) + run.output()).not.toContain(KEY);
  });
});

describe("what Stripe tells", () => {
  it("credits a paid session exactly, without its taxes, once however often and in whatever order it comes", async () => {
    const account = await anAccount("0");
    const unpaid = paid(account.id, { payment_status: "unpaid", amount_subtotal: 1_999 });
    const { object: session } = unpaid.data;
    const later = paid(
      account.id,
      { ...session, payment_status: "paid" },
      "checkout.session.async_payment_succeeded",
    );
    const again = paid(account.id, { ...session, payment_status: "paid" });

    expect(await tell(unpaid)).toMatchObject({ status: 200, body: { outcome: "unpaid" } });
    expect(await balanceOf(account)).toBe("0");
    const answers = await Promise.all([tell(later), tell(later), tell(again), tell(later)]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect(answers.filter(({ body }) => body.outcome === "credited")).toHaveLength(1);
    expect(await tell(unpaid)).toMatchObject({ status: 200, body: { outcome: "unpaid" } });
    expect(await balanceOf(account)).toBe("19.99");
    const { data } = await admin<{ data: any[] }>(run, "GET", `/accounts/${account.id}/journal`);
    expect(data).toMatchObject([
      { kind: "credit", amount: 19_990_000_000, reference: `stripe:${session.id}` },
    ]);
    // An earlier event may come last: what the record says of it is about that event alone.
    expect([await recorded(later.id), await recorded(again.id)].map(({ outcome }) => outcome).sort()).toEqual(
      ["credited", "repeated"],
    );
  });

  it("credits nothing for other currencies, no amounts and accounts that it does not know, and keeps them for an operator", async () => {
    const account = await anAccount("0");
    const stranger = `acct_${"0".repeat(26)}`;
    for (const [event, outcome] of [
      [paid(account.id, { currency: "eur" }), "not_usd"],
      [paid(account.id, { amount_subtotal: 0 }), "no_amount"],
      [paid(account.id, { amount_subtotal: -500 }), "no_amount"],
      [paid(account.id, { amount_subtotal: 10.5 }), "no_amount"],
      [paid(account.id, { amount_subtotal: 2 ** 53 }), "no_amount"],
      [paid(account.id, { amount_subtotal: null }), "no_amount"],
      [paid(stranger), "unknown_account"],
      [paid(null), "unknown_account"],
      [paid("=HYPERLINK(1)"), "unknown_account"],
      [{ ...paid(account.id), data: { object: { id: 7 } } }, "unreadable_session"],
    ] as const) {
      expect(await tell(event)).toMatchObject({ status: 422, body: { error: { code: outcome } } });
      expect(await recorded(event.id)).toMatchObject({ outcome });
    }
    expect(await balanceOf(account)).toBe("0");
    expect(run.output()).toContain("credits nothing: unknown_account");
  });

  it("credits an account that is listed by the time it is told again", async () => {
    const event = paid(`acct_${"1".repeat(26)}`);
    expect(await tell(event)).toMatchObject({ status: 422 });
    const account = await anAccount("0");
    event.data.object.client_reference_id = account.id;
    expect(await tell(event)).toMatchObject({ status: 200, body: { outcome: "credited" } });
    expect(await recorded(event.id)).toMatchObject({
      outcome: "credited",
      account: account.id,
      amount: "20",
    });
  });

  it("of anything else is answered and ignored by name", async () => {
    const account = await anAccount("0");
    for (const type of [
      "checkout.session.expired",
      "charge.refunded",
      "checkout.session.async_payment_failed",
    ]) {
      expect(await tell(paid(account.id, {}, type))).toEqual({
        status: 200,
        body: { received: true, ignored: type },
      });
    }
    expect(await balanceOf(account)).toBe("0");
  });

  it("is believed with its signature alone: over the raw body, by the right secret, of the last five minutes", async () => {
    const account = await anAccount("0");
    const event = paid(account.id);
    const payload = JSON.stringify(event);
    const at = Math.floor(Date.now() / 1000);
    const good = library.webhooks.generateTestHeaderString({ payload, secret: SECRET, timestamp: at });
    const wrong = { status: 400, body: { error: { code: "invalid_signature" } } };
    expect(await tell(event, { secret: `${SECRET}x` })).toMatchObject(wrong);
    expect(await tell(event, { at: at - 600 })).toMatchObject(wrong);
    expect(await tell(event, { signature: null })).toMatchObject(wrong);
    expect(await tell(event, { signature: "" })).toMatchObject(wrong);
    expect(await tell(event, { signature: "t=1,v1=00" })).toMatchObject(wrong);
    // The same JSON in other bytes is another body.
    expect(await tell(`${payload} `, { signature: good })).toMatchObject(wrong);
    expect(await tell(payload.replace("2000", "9000"), { signature: good })).toMatchObject(wrong);
    expect(await tell("", { signature: good })).toMatchObject(wrong);
    expect(await tell("not json")).toMatchObject(wrong);
    expect(await balanceOf(account)).toBe("0");
    expect(await tell(payload, { signature: good })).toMatchObject({
      status: 200,
      body: { outcome: "credited" },
    });
  });

  it("in more than 256 KiB is refused before its signature is looked at", async () => {
    const account = await anAccount("0");
    const answer = await tell(paid(account.id, { metadata: "x".repeat(300_000) }));
    expect(answer).toMatchObject({ status: 413, body: { error: { code: "request_too_large" } } });
  });

  it("leaves the books right", async () => {
    expect((await audited(run)).clean).toBe(true);
  });
});
