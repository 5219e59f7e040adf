/** GET /admin/pools: what each pool counts and has learnt, as of now. */
import type { Context } from "hono";
import type { AppEnv } from "../app.ts";
import { allViews } from "../fleet/pools.ts";
import { refresh } from "../fleet/snapshot.ts";

export async function listPools(c: Context<AppEnv>): Promise<Response> {
  const snapshot = await refresh(c.env);
  const data = (await allViews(c.env, snapshot)).map(({ pool, view }) => ({
    region: pool.region,
    model: pool.model,
    reachable: view !== undefined,
    backends: [...snapshot.backends.values()]
      .filter((backend) => backend.region === pool.region && backend.model === pool.model)
      .map((backend) => {
        const load = view?.loads[backend.id];
        const health = view?.health[backend.id];
        return {
          id: backend.id,
          state: backend.state,
          placed: load?.placed ?? 0,
          running: load?.running ?? null,
          waiting: load?.waiting ?? null,
          cache_usage: load?.cacheUsage ?? null,
          failures: health?.failures ?? 0,
          resting_until: instant(health?.retryAtMs),
          ejected_until: instant(health?.ejectedUntilMs),
          draining_until: instant(health?.drainingUntilMs),
          ttft_ms: health?.ttftMs ? Math.round(health.ttftMs) : null,
        };
      }),
  }));
  return c.json({ object: "list", data });
}

/** Past ones are of no interest any more. */
function instant(ms: number | undefined): string | null {
  return ms !== undefined && ms > Date.now() ? new Date(ms).toISOString() : null;
}
