/** The Worker: HTTP to the app, the outbox's queue to D1, the webhooks' queue to their sender, the cron to the pools. */
import { app } from "./app.ts";
import type { Env } from "./env.ts";
import { watch } from "./fleet/watch.ts";
import type { OutboxMessage } from "./usage/outbox.ts";
import { project } from "./usage/project.ts";
import { type DeliveryMessage, deliver } from "./webhooks/deliver.ts";

export { AccountObject } from "./objects/account.ts";
export { DeliveriesObject } from "./objects/deliveries.ts";
export { PoolObject } from "./objects/pool.ts";

export default {
  fetch: app.fetch,
  queue: (batch, env, ctx) =>
    batch.queue.startsWith("causeway-webhooks")
      ? deliver(batch as MessageBatch<DeliveryMessage>, env, ctx)
      : project(batch as MessageBatch<OutboxMessage>, env),
  scheduled: (_, env) => watch(env),
} satisfies ExportedHandler<Env, OutboxMessage | DeliveryMessage>;
