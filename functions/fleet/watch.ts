/**
 * A look at every pool without a request: the cron of wrangler.toml, each minute. Pools ask their backends only while
 * somebody asks them, so a platform at night would learn of a fallen region, and tell its webhooks, with the first
 * request of the morning.
 */
import type { Env } from "../env.ts";
import { allViews } from "./pools.ts";
import { refresh } from "./snapshot.ts";

export async function watch(env: Env): Promise<void> {
  await allViews(env, await refresh(env));
}
