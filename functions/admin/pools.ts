/** GET /admin/pools: what each pool counts and has learnt, as of now. */
import type { Context } from "hono";
import type { AppEnv } from "../app.ts";
import { iso } from "../clock.ts";
import { refresh } from "../fleet/snapshot.ts";
import { type BackendStanding, standingOfPools } from "../fleet/standing.ts";

export async function listPools(c: Context<AppEnv>): Promise<Response> {
  const snapshot = await refresh(c.env);
  const pools = await standingOfPools(c.env, snapshot);
  const data = pools.map(({ backends, ...pool }) => ({ ...pool, backends: backends.map(backendView) }));
  return c.json({ object: "list", data });
}

const backendView = (backend: BackendStanding) => ({
  id: backend.id,
  /** What the operator wants, and how it stands. */
  state: backend.configured,
  standing: backend.state,
  reason: backend.reason,
  since: iso(backend.sinceMs),
  placed: backend.placed,
  running: backend.running,
  waiting: backend.waiting,
  cache_usage: backend.cacheUsage,
  prefix_hit_share: backend.prefixHitShare,
  prefill_tokens_per_second: backend.prefillTokensPerSecond,
  decode_tokens_per_second: backend.decodeTokensPerSecond,
  failures: backend.failures,
  resting_until: iso(backend.restingUntilMs),
  ejected_until: iso(backend.ejectedUntilMs),
  draining_until: iso(backend.drainingUntilMs),
  ttft_ms: backend.ttftMs === null ? null : Math.round(backend.ttftMs),
});
