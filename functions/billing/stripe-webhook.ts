/**
 * What Stripe tells (`POST /webhooks/stripe`): a checkout that was paid becomes a credit. Stripe tells it at least
 * once, late and in any order, so the credit's reference is the session: the account's object credits it once. It is
 * answered 2xx only when that is written. What was paid and cannot be credited is kept for an operator
 * (`GET /admin/stripe/events`) and answered with an error, so that Stripe shows it too and tells it again.
 */
import { eq, ne } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import type Stripe from "stripe";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { accountObject } from "../auth/accounts.ts";
import { accounts, stripeEvents } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import { bodyTooLarge, invalid, notConfigured, Refusal } from "../errors.ts";
import { isAccountId } from "../ids.ts";
import { centsToNanodollars, type StripeAccess, stripeAccess } from "./stripe.ts";

/** Stripe's events are a few kB. */
const MAX_BODY_BYTES = 256 * 1024;
/** How old a signature may be: Stripe's own default. */
const TOLERANCE_SECONDS = 300;

const PAYMENTS = ["checkout.session.completed", "checkout.session.async_payment_succeeded"];

/** Of a session, what decides. Stripe's versions add fields and drop none of these. */
const sessionSchema = z.object({
  id: z.string().min(1).max(200),
  client_reference_id: z.string().max(200).nullish(),
  payment_status: z.string(),
  currency: z.string().nullish(),
  amount_subtotal: z.number().nullish(),
});

type StripeEvent = typeof stripeEvents.$inferInsert;

export async function stripeWebhook(c: Context<AppEnv>): Promise<Response> {
  const stripe = await stripeAccess(c.env);
  if (!stripe) throw new Refusal(notConfigured("No payments are configured here."));
  const raw = await rawBody(c.req.raw);
  const event = await verified(stripe, raw, c.req.header("stripe-signature"));
  if (!PAYMENTS.includes(event.type)) return c.json({ received: true, ignored: event.type });

  const { status, ...record } = await credit(c.env, event);
  await keep(c.env, record);
  if (status === 200) return c.json({ received: true, outcome: record.outcome });
  // Money came in and went nowhere.
  console.error(`Stripe event ${event.id} (${record.session}) credits nothing: ${record.outcome}`);
  throw new Refusal({
    ...invalid(`Nothing was credited: ${record.outcome}. It was recorded.`, undefined, record.outcome),
    status,
  });
}

/**
 * To the byte as it was signed, and counted before anything looks at it: a signature does not make a body small.
 * Undefined: it is no text.
 */
async function rawBody(request: Request): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  if (request.body) {
    for await (const chunk of request.body as ReadableStream<Uint8Array>) {
      bytes += chunk.byteLength;
      if (bytes > MAX_BODY_BYTES) throw new Refusal(bodyTooLarge(MAX_BODY_BYTES));
      chunks.push(chunk);
    }
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      await new Blob(chunks).arrayBuffer(),
    );
  } catch {
    return undefined;
  }
}

async function verified(
  { library, client, webhookSecret }: StripeAccess,
  raw: string | undefined,
  signature: string | undefined,
): Promise<Stripe.Event> {
  const wrong = () =>
    new Refusal(invalid("The signature is not Stripe's, or too old.", undefined, "invalid_signature"));
  if (!signature || raw === undefined) throw wrong();
  try {
    return await client.webhooks.constructEventAsync(
      raw,
      signature,
      webhookSecret,
      TOLERANCE_SECONDS,
      library.createSubtleCryptoProvider(),
    );
  } catch {
    throw wrong();
  }
}

/** Credits what was paid, once a session. What comes back says how it ended, for the record and the answer. */
async function credit(env: Env, event: Stripe.Event): Promise<StripeEvent & { status: 200 | 422 }> {
  const parsed = sessionSchema.safeParse(event.data?.object);
  const base = { id: event.id, type: event.type, at: Date.now() };
  if (!parsed.success) return { ...base, outcome: "unreadable_session", status: 422 };
  const session = parsed.data;
  const amount = centsToNanodollars(session.amount_subtotal) ?? null;
  const account = session.client_reference_id ?? null;
  const ended = (outcome: string, status: 200 | 422) => ({
    ...base,
    outcome,
    account,
    session: session.id,
    amount,
    status,
  });
  // A delayed method pays later: then `async_payment_succeeded` comes.
  if (session.payment_status !== "paid") return ended("unpaid", 200);
  if (session.currency?.toLowerCase() !== "usd") return ended("not_usd", 422);
  if (amount === null) return ended("no_amount", 422);
  if (account === null || !isAccountId(account)) return ended("unknown_account", 422);
  const listed = await drizzle(env.DB).select().from(accounts).where(eq(accounts.id, account)).get();
  if (!listed) return ended("unknown_account", 422);
  const object = accountObject(env, account);
  await object.open(account);
  const result = await object.credit(amount, `stripe:${session.id}`);
  if ("status" in result) return ended(result.code, 422);
  return ended(result.credited ? "credited" : "repeated", 200);
}

/** By Stripe's event id. What has credited stays said so, however often it is told again. */
async function keep(env: Env, { id, ...event }: StripeEvent): Promise<void> {
  await drizzle(env.DB)
    .insert(stripeEvents)
    .values({ id, ...event })
    .onConflictDoUpdate({
      target: stripeEvents.id,
      set: event,
      setWhere: ne(stripeEvents.outcome, "credited"),
    });
}
