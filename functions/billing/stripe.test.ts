import { createExecutionContext } from "cloudflare:test";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { env } from "../../test/support/worker.ts";
import { app } from "../app.ts";
import type { Env } from "../env.ts";
import { centsToNanodollars, nanodollarsToCents, takesPayments } from "./stripe.ts";

const KEY = "sk_test_0123456789abcdefghijklmn";
const SECRET = "whsec_0123456789abcdefghijklmn";

describe("cents", () => {
  it("are nanodollars exactly, and back", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 900_719_925 }), (cents) => {
        const value = centsToNanodollars(cents)!;
        expect(BigInt(value)).toBe(BigInt(cents) * 10_000_000n);
        expect(nanodollarsToCents(value)).toBe(cents);
      }),
    );
    expect(centsToNanodollars(900_719_926)).toBeUndefined();
  });

  it.each([0, -1, 1.5, Number.NaN, 2 ** 53, "5", null, undefined])("are not %s", (cents) => {
    expect(centsToNanodollars(cents)).toBeUndefined();
  });
});

describe("Stripe's webhook", () => {
  const told = async (secrets: Partial<Env>) => {
    const request = new Request("https://edge.test/webhooks/stripe", { method: "POST", body: "{}" });
    return (await app.fetch(request, { ...env, ...secrets }, createExecutionContext())).status;
  };

  it.each<[string, Partial<Env>]>([
    ["no secret", {}],
    ["an empty secret", { STRIPE_SECRET_KEY: KEY, STRIPE_WEBHOOK_SECRET: "" }],
    ["a short secret", { STRIPE_SECRET_KEY: KEY, STRIPE_WEBHOOK_SECRET: "whsec_short" }],
    ["no key", { STRIPE_WEBHOOK_SECRET: SECRET }],
    ["an empty key", { STRIPE_SECRET_KEY: "", STRIPE_WEBHOOK_SECRET: SECRET }],
  ])("with %s is no endpoint at all: 503, whatever is sent", async (_, secrets) => {
    expect(await told(secrets)).toBe(503);
    expect(takesPayments({ ...env, ...secrets })).toBe(false);
  });

  it("with both checks the signature", async () => {
    expect(await told({ STRIPE_SECRET_KEY: KEY, STRIPE_WEBHOOK_SECRET: SECRET })).toBe(400);
  });
});
