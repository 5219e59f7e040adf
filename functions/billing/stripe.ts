/**
 * Stripe, by its own library, as a Worker can use it: `fetch` and WebCrypto. Without both secrets there is nothing: no
 * checkout, and no endpoint that credits. A short secret counts as none, since it could be guessed.
 */
import type Stripe from "stripe";
import type { Env } from "../env.ts";
import { type Nanodollars, nanodollars } from "../money.ts";

const MIN_SECRET = 24;
const TIMEOUT_MS = 10_000;
/** A cent is 1e-2 USD, a nanodollar 1e-9. */
const NANODOLLARS_A_CENT = 10_000_000n;

export interface StripeAccess {
  readonly library: typeof Stripe;
  readonly client: Stripe;
  readonly webhookSecret: string;
}

export const takesPayments = (env: Env): boolean =>
  (env.STRIPE_SECRET_KEY?.length ?? 0) >= MIN_SECRET &&
  (env.STRIPE_WEBHOOK_SECRET?.length ?? 0) >= MIN_SECRET;

export async function stripeAccess(env: Env): Promise<StripeAccess | undefined> {
  const { STRIPE_SECRET_KEY: key, STRIPE_WEBHOOK_SECRET: webhookSecret } = env;
  if (!takesPayments(env) || !key || !webhookSecret) return undefined;
  // Loaded when it is first needed: it is large, and no request of a model needs it.
  const { default: library } = await import("stripe");
  const client = new library(key, {
    ...addressOf(env.STRIPE_API_URL),
    httpClient: library.createFetchHttpClient(),
    timeout: TIMEOUT_MS,
    maxNetworkRetries: 1,
    telemetry: false,
  });
  return { library, client, webhookSecret };
}

/** Stripe's own address where none is configured. */
function addressOf(text: string | undefined) {
  if (!text) return {};
  const { protocol, hostname, port } = new URL(text);
  const isHttp = protocol === "http:";
  return {
    protocol: isHttp ? ("http" as const) : ("https" as const),
    host: hostname,
    port: port || (isHttp ? 80 : 443),
  };
}

/** Exactly. Undefined: no whole number of cents above 0 that an account can hold. */
export function centsToNanodollars(cents: unknown): Nanodollars | undefined {
  if (typeof cents !== "number" || !Number.isSafeInteger(cents) || cents <= 0) return undefined;
  const value = BigInt(cents) * NANODOLLARS_A_CENT;
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? nanodollars(value) : undefined;
}

/** Undefined: a fraction of a cent, which Stripe cannot take. */
export function nanodollarsToCents(value: Nanodollars): number | undefined {
  const whole = BigInt(value);
  return whole % NANODOLLARS_A_CENT === 0n ? Number(whole / NANODOLLARS_A_CENT) : undefined;
}
