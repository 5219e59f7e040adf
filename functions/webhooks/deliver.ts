/**
 * The queue's consumer: one attempt at each delivery that is due. It claims the delivery in D1, hands it to the sender
 * and goes on without waiting, so that a slow endpoint holds up nobody's queue; no endpoint has more than four
 * attempts running. What is lost on the way (a message, this isolate in the middle of an attempt) is due again when
 * its claim ends, and the account's clock brings it back.
 */
import { and, asc, eq, isNotNull, lte, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { DAY_MS, MINUTE_MS, SECOND_MS, within } from "../clock.ts";
import { type DeliveryAttempt, webhookDeliveries, webhookEndpoints, webhookEvents } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import { framesOf } from "../errors.ts";
import type { AccountId, DeliveryId, EndpointId } from "../ids.ts";
import { DISABLE_AFTER_MS, FIRST_RETRY_MS, nextDelay } from "./back-off.ts";
import { type Endpoint, enqueue, giveUp, wake } from "./dispatch.ts";
import { unseal } from "./secrets.ts";
import type { Outcome } from "./sender.ts";
import { bodyOf, headersOf, type WebhookEvent } from "./sign.ts";

export interface DeliveryMessage {
  readonly delivery: DeliveryId;
  readonly endpoint: EndpointId;
  readonly account: AccountId;
}

type Delivery = typeof webhookDeliveries.$inferSelect;

/** Attempts at one endpoint at a time. */
export const AT_ONCE = 4;
/** What an attempt may take from its claim to its record; beyond it, the attempt is lost and the delivery due again. */
const CLAIM_MS = 1 * MINUTE_MS;
const SENDER_MS = 30 * SECOND_MS;
const MAX_ATTEMPTS_KEPT = 20;

export async function deliver(
  batch: MessageBatch<DeliveryMessage>,
  env: Env,
  ctx: ExecutionContext,
): Promise<void> {
  await Promise.all(
    batch.messages.map(async (message) => {
      try {
        const claimed = await claim(env, message.body, Date.now());
        message.ack();
        if (claimed) ctx.waitUntil(attempt(env, claimed));
      } catch (error) {
        console.error(`webhook message ${message.id} waits for another try: ${framesOf(error)}`);
        message.retry();
      }
    }),
  );
}

/** Undefined: it is not due, another attempt runs, or its endpoint has enough of them; those bring it up themselves. */
async function claim(env: Env, message: DeliveryMessage, now: number): Promise<Delivery | undefined> {
  const { delivery, endpoint } = message;
  const running = sql`(select count(*) from ${webhookDeliveries} as other
    where other.endpoint = ${endpoint} and other.claimed_until > ${now})`;
  const until = now + CLAIM_MS;
  const [claimed] = await drizzle(env.DB)
    .update(webhookDeliveries)
    .set({ claimedUntil: until, nextAttemptAt: until })
    .where(
      and(
        eq(webhookDeliveries.id, delivery),
        eq(webhookDeliveries.state, "pending"),
        lte(webhookDeliveries.nextAttemptAt, now),
        sql`${running} < ${AT_ONCE}`,
      ),
    )
    .returning();
  return claimed;
}

/** Never throws: what fails here is due again when the claim ends. */
async function attempt(env: Env, delivery: Delivery): Promise<void> {
  try {
    const db = drizzle(env.DB);
    const [[endpoint], [event]] = await db.batch([
      db.select().from(webhookEndpoints).where(eq(webhookEndpoints.id, delivery.endpoint)),
      db.select().from(webhookEvents).where(eq(webhookEvents.id, delivery.event)),
    ]);
    if (endpoint?.state !== "enabled") {
      await giveUp(env, delivery.endpoint);
      return;
    }
    if (!event) throw new Error("a delivery outlived its event");
    const at = Date.now();
    await record(env, delivery, endpoint, at, await send(env, endpoint, event, at));
    await next(env, delivery);
  } catch (error) {
    console.error(`webhook delivery ${delivery.id} is tried again: ${framesOf(error)}`);
  }
}

async function send(env: Env, endpoint: Endpoint, event: WebhookEvent, now: number): Promise<Outcome> {
  const failed = (error: string): Outcome => ({
    status: null,
    ms: Date.now() - now,
    error,
    retryAfter: null,
  });
  const current = endpoint.secrets.filter(({ expiresAt }) => expiresAt === null || expiresAt > now);
  const secrets = await Promise.all(current.map(({ sealed }) => unseal(env, endpoint.id, sealed)));
  const usable = secrets.filter((secret) => secret !== undefined);
  if (usable.length === 0) return failed("The endpoint's secret cannot be read: rotate it.");
  const body = bodyOf(event);
  const letter = { url: endpoint.url, headers: headersOf(event.id, body, usable, now), body };
  try {
    const outcome = await within(SENDER_MS, Promise.resolve(env.SENDER.send(letter)));
    return outcome ?? failed("The sender did not answer.");
  } catch {
    return failed("The sender failed.");
  }
}

/** What came of it, in one transaction; and nothing, where the claim has been lost to another attempt meanwhile. */
async function record(
  env: Env,
  delivery: Delivery,
  endpoint: Endpoint,
  at: number,
  outcome: Outcome,
): Promise<void> {
  const db = drizzle(env.DB);
  const { status, ms, error, retryAfter } = outcome;
  const done: DeliveryAttempt = { at, status, ms, error };
  const attempts = [...delivery.attempts, done].slice(-MAX_ATTEMPTS_KEPT);
  const tries = delivery.tries + 1;
  const ours = and(
    eq(webhookDeliveries.id, delivery.id),
    eq(webhookDeliveries.claimedUntil, delivery.claimedUntil ?? 0),
  );
  const isOurs = sql`exists (select 1 from ${webhookDeliveries} as mine
    where mine.id = ${delivery.id} and mine.claimed_until = ${delivery.claimedUntil})`;
  const update = (change: Partial<Delivery>) =>
    db
      .update(webhookDeliveries)
      .set({ attempts, tries, claimedUntil: null, ...change })
      .where(ours);
  const ofEndpoint = eq(webhookEndpoints.id, endpoint.id);

  if (error === null) {
    await db.batch([
      db
        .update(webhookEndpoints)
        .set({ failingSince: null })
        .where(and(ofEndpoint, isNotNull(webhookEndpoints.failingSince), isOurs)),
      update({ state: "delivered", nextAttemptAt: null }),
    ]);
    return;
  }
  const now = Date.now();
  const firstRetryMs = Number(env.WEBHOOK_RETRY_MS) || FIRST_RETRY_MS;
  const failingSince = endpoint.failingSince ?? at;
  const because = disabledBecause(status, failingSince, now, error);
  const delay =
    because === undefined ? nextDelay(tries, retryAfter, now, Math.random, firstRetryMs) : undefined;
  const failure =
    delay === undefined ? { state: "failed" as const, nextAttemptAt: null } : { nextAttemptAt: now + delay };
  const standing = because === undefined ? {} : { state: "disabled" as const, disabledBecause: because };
  const settle = [
    db
      .update(webhookEndpoints)
      .set({ failingSince: sql`coalesce(${webhookEndpoints.failingSince}, ${at})`, ...standing })
      .where(and(ofEndpoint, isOurs)),
    update(failure),
  ] as const;
  if (because === undefined) await db.batch(settle);
  else await db.batch([...settle, giveUp(env, endpoint.id)]);
  if (delay !== undefined) await wake(env, delivery.account, now + delay);
}

function disabledBecause(
  status: number | null,
  failingSince: number,
  now: number,
  error: string,
): string | undefined {
  if (status === 410) return "The endpoint answered 410 Gone.";
  if (now - failingSince < DISABLE_AFTER_MS) return undefined;
  return `Every attempt of ${Math.floor((now - failingSince) / DAY_MS)} days failed. The last one: ${error}`;
}

/** A place at the endpoint is free: what waited for it. */
async function next(env: Env, { account, endpoint }: Delivery): Promise<void> {
  const due = await drizzle(env.DB)
    .select({ delivery: webhookDeliveries.id })
    .from(webhookDeliveries)
    .where(
      and(
        eq(webhookDeliveries.endpoint, endpoint),
        eq(webhookDeliveries.state, "pending"),
        lte(webhookDeliveries.nextAttemptAt, Date.now()),
      ),
    )
    .orderBy(asc(webhookDeliveries.nextAttemptAt))
    .limit(AT_ONCE);
  await enqueue(
    env,
    due.map(({ delivery }) => ({ delivery, endpoint, account })),
  );
}
