/**
 * From what happened to what is to be delivered: events and deliveries in D1, each once, whoever writes them how
 * often. The queue is told what is due at once; the account's clock (objects/deliveries.ts) sees to all else, and is
 * set before anything is written.
 */
import { and, eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { accountObject } from "../auth/accounts.ts";
import { SECOND_MS } from "../clock.ts";
import { webhookDeliveries, webhookEndpoints, webhookEvents } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import { type AccountId, type DeliveryId, derivedUlid, type EndpointId, type EventId } from "../ids.ts";
import type { Notice } from "../objects/notices.ts";
import type { DeliveryMessage } from "./deliver.ts";
import type { RegionEventType } from "./events.ts";
import type { WebhookEvent } from "./sign.ts";

export type Endpoint = typeof webhookEndpoints.$inferSelect;

/** A message that the queue loses is made up for by then. */
const LOOK_MS = 15 * SECOND_MS;
/** What the queue takes in one call. */
const MAX_SENT = 100;

/** An account's notices, from its outbox. The object lets go of them only when D1 has them. */
export async function dispatchNotices(
  env: Env,
  account: AccountId,
  notices: readonly Notice[],
): Promise<void> {
  const endpoints = await drizzle(env.DB)
    .select()
    .from(webhookEndpoints)
    .where(and(eq(webhookEndpoints.account, account), eq(webhookEndpoints.state, "enabled")));
  await dispatch(
    env,
    notices.flatMap((event) =>
      endpoints.filter(({ events }) => events.includes(event.type)).map((endpoint) => ({ event, endpoint })),
    ),
  );
  await accountObject(env, account).told(notices.map(({ id }) => id));
}

/** Tells every account that asked. `id` names the change: the same one is told once. */
export async function dispatchRegion(
  env: Env,
  event: WebhookEvent & { readonly type: RegionEventType },
): Promise<void> {
  const endpoints = await drizzle(env.DB)
    .select()
    .from(webhookEndpoints)
    .where(
      and(
        eq(webhookEndpoints.state, "enabled"),
        sql`exists (select 1 from json_each(${webhookEndpoints.events}) where value = ${event.type})`,
      ),
    );
  await dispatch(
    env,
    endpoints.map((endpoint) => ({ event, endpoint })),
  );
}

/** Writes events and deliveries that are not there yet, and has the new ones sent. */
export async function dispatch(
  env: Env,
  pairs: readonly { readonly event: WebhookEvent; readonly endpoint: Endpoint }[],
): Promise<readonly DeliveryId[]> {
  if (pairs.length === 0) return [];
  const now = Date.now();
  const accounts = [...new Set(pairs.map(({ endpoint }) => endpoint.account))];
  await Promise.all(accounts.map((account) => wake(env, account, now + LOOK_MS)));
  const db = drizzle(env.DB);
  const events = [...new Map(pairs.map(({ event }) => [event.id, event])).values()];
  const deliveries = await Promise.all(
    pairs.map(async ({ event, endpoint }) => ({
      id: await deliveryId(event.id, endpoint.id),
      account: endpoint.account,
      endpoint: endpoint.id,
      event: event.id,
    })),
  );
  // One JSON parameter each: D1 binds at most a hundred. `where true` keeps `on conflict` from being read as a join's.
  const [, made] = await db.batch([
    db
      .insert(webhookEvents)
      .select(sql`
        select value ->> 'id', value ->> 'type', value ->> 'at', value ->> 'data'
        from json_each(${JSON.stringify(events)}) where true`)
      .onConflictDoNothing(),
    db
      .insert(webhookDeliveries)
      .select(sql`
        select value ->> 'id', value ->> 'account', value ->> 'endpoint', value ->> 'event', 'pending', '[]', 0,
          ${now}, null, ${now}
        from json_each(${JSON.stringify(deliveries)}) where true`)
      .onConflictDoNothing()
      .returning({ id: webhookDeliveries.id }),
  ]);
  const fresh = new Set(made.map(({ id }) => id));
  await enqueue(
    env,
    deliveries.filter(({ id }) => fresh.has(id)).map(({ id, ...of }) => ({ delivery: id, ...of })),
  );
  return deliveries.map(({ id }) => id);
}

/** Into the queue, at once. Too often does no harm: a delivery is claimed before it is sent. */
export async function enqueue(env: Env, messages: readonly DeliveryMessage[]): Promise<void> {
  for (let i = 0; i < messages.length; i += MAX_SENT) {
    const part = messages.slice(i, i + MAX_SENT).map(({ delivery, endpoint, account }) => ({
      body: { delivery, endpoint, account },
      contentType: "json" as const,
    }));
    await env.WEBHOOKS.sendBatch(part);
  }
}

/** Sees that what is pending then is sent. */
export const wake = (env: Env, account: AccountId, at: number): Promise<void> =>
  env.DELIVERIES.getByName(account).wake(account, at);

/** Time and order are the event's; the rest is made from both, so that a repetition makes the same. */
async function deliveryId(event: EventId, endpoint: EndpointId): Promise<DeliveryId> {
  const time = event.slice("evt_".length, "evt_".length + 10);
  return `whdl_${await derivedUlid(time, `${event} ${endpoint}`)}`;
}

/** What waits for an endpoint that is disabled or gone. It can be asked for again. */
export const giveUp = (env: Env, endpoint: EndpointId) =>
  drizzle(env.DB)
    .update(webhookDeliveries)
    .set({ state: "failed", nextAttemptAt: null, claimedUntil: null })
    .where(and(eq(webhookDeliveries.endpoint, endpoint), eq(webhookDeliveries.state, "pending")));
