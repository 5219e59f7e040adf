/** The Worker: HTTP to the app, the outbox's queue to D1. */
import { app } from "./app.ts";
import type { Env } from "./env.ts";
import type { OutboxMessage } from "./usage/outbox.ts";
import { project } from "./usage/project.ts";

export { AccountObject } from "./objects/account.ts";
export { PoolObject } from "./objects/pool.ts";

export default {
  fetch: app.fetch,
  queue: (batch, env) => project(batch, env),
} satisfies ExportedHandler<Env, OutboxMessage>;
