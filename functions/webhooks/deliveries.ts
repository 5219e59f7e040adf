/** What was sent to an endpoint and what came of it; a test event; and a delivery asked for again. */
import { and, desc, eq, isNull, lt, lte, or } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import { checked, pathParam } from "../admin/input.ts";
import type { AppEnv } from "../app.ts";
import { iso } from "../clock.ts";
import { webhookDeliveries, webhookEndpoints, webhookEvents } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import { invalid, notFound, Refusal } from "../errors.ts";
import { type AccountId, type DeliveryId, newEventId } from "../ids.ts";
import { dispatch, enqueue, wake } from "./dispatch.ts";
import { endpointOf } from "./endpoints.ts";
import { deliveryPage } from "./fields.ts";

/** Newest first. */
export async function listDeliveries(c: Context<AppEnv>): Promise<Response> {
  const endpoint = await endpointOf(c);
  const { before, limit } = checked(deliveryPage, c.req.query());
  const rows = await drizzle(c.env.DB)
    .select()
    .from(webhookDeliveries)
    .innerJoin(webhookEvents, eq(webhookEvents.id, webhookDeliveries.event))
    .where(
      and(
        eq(webhookDeliveries.endpoint, endpoint.id),
        before === undefined ? undefined : lt(webhookDeliveries.id, before as DeliveryId),
      ),
    )
    .orderBy(desc(webhookDeliveries.id))
    .limit(limit + 1);
  const data = rows.slice(0, limit).map(view);
  return c.json({
    object: "list",
    data,
    next_before: rows.length > limit ? (data.at(-1)?.id ?? null) : null,
  });
}

/** Sends a `test` event, whatever the endpoint asks for. */
export async function testEndpoint(c: Context<AppEnv>): Promise<Response> {
  const endpoint = await endpointOf(c);
  if (endpoint.state !== "enabled") throw new Refusal(isDisabled());
  const { id: webhook, account } = endpoint;
  const data = { account, webhook, message: "A test, asked for by the account." };
  const event = { id: newEventId(), type: "test" as const, at: Date.now(), data };
  const [delivery] = await dispatch(c.env, [{ event, endpoint }]);
  return c.json(await oneDelivery(c.env, account, delivery!), 202);
}

/** The same event under the same id, from the first of its tries again. One that runs is left to run. */
export async function replayDelivery(c: Context<AppEnv>): Promise<Response> {
  const account = c.get("account");
  const id = pathParam(c, "id") as DeliveryId;
  const db = drizzle(c.env.DB);
  const found = await db
    .select({ endpoint: webhookEndpoints })
    .from(webhookDeliveries)
    .innerJoin(webhookEndpoints, eq(webhookEndpoints.id, webhookDeliveries.endpoint))
    .where(and(eq(webhookDeliveries.id, id), eq(webhookDeliveries.account, account)))
    .get();
  if (!found) throw new Refusal(noDelivery(id));
  const { endpoint } = found;
  if (endpoint.state !== "enabled") throw new Refusal(isDisabled());
  const now = Date.now();
  await wake(c.env, account, now);
  await db
    .update(webhookDeliveries)
    .set({ state: "pending", tries: 0, nextAttemptAt: now, claimedUntil: null })
    .where(
      and(
        eq(webhookDeliveries.id, id),
        or(isNull(webhookDeliveries.claimedUntil), lte(webhookDeliveries.claimedUntil, now)),
      ),
    );
  await enqueue(c.env, [{ delivery: id, endpoint: endpoint.id, account }]);
  return c.json(await oneDelivery(c.env, account, id), 202);
}

async function oneDelivery(env: Env, account: AccountId, id: DeliveryId) {
  const row = await drizzle(env.DB)
    .select()
    .from(webhookDeliveries)
    .innerJoin(webhookEvents, eq(webhookEvents.id, webhookDeliveries.event))
    .where(and(eq(webhookDeliveries.id, id), eq(webhookDeliveries.account, account)))
    .get();
  if (!row) throw new Refusal(noDelivery(id));
  return view(row);
}

const noDelivery = (id: string) => notFound(`No webhook delivery '${id}' in this account.`);

const isDisabled = () =>
  invalid("The endpoint is disabled. Enable it first: PATCH its state.", undefined, "endpoint_disabled");

const view = (row: {
  webhook_deliveries: typeof webhookDeliveries.$inferSelect;
  webhook_events: typeof webhookEvents.$inferSelect;
}) => {
  const { id, state, attempts, nextAttemptAt } = row.webhook_deliveries;
  const { id: event, type, at } = row.webhook_events;
  return {
    id,
    event: { id: event, type, created_at: iso(at) },
    state,
    attempts: attempts.map(({ at, status, ms, error }) => ({ at: iso(at), status, duration_ms: ms, error })),
    next_attempt_at: iso(nextAttemptAt),
  };
};
