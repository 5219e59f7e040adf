/**
 * GET /v1/regions: how each region stands now, and what an account's own requests met there in the last hour. Each
 * backend by itself is shown to accounts that the operator lets see the whole fleet.
 */
import { desc, eq, isNull } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { HOUR_MS, iso, QUARTER_HOUR_MS, quarterHourOf } from "../clock.ts";
import { accounts, fleetEvents, fleetOutages } from "../db/d1/schema.ts";
import { Refusal } from "../errors.ts";
import { distanceTo, measure } from "../fleet/distance.ts";
import { type Region, snapshot } from "../fleet/snapshot.ts";
import { type BackendStanding, standingOfPools } from "../fleet/standing.ts";
import { firstIssue } from "../surfaces/openai/schema.ts";
import { Sums } from "./sums.ts";
import { statements } from "./usage.ts";

const MAX_EVENTS = 100;

type Standing = BackendStanding & { readonly model: string };

export async function listRegions(c: Context<AppEnv>): Promise<Response> {
  const parsed = z.strictObject({}).safeParse(c.req.query());
  if (!parsed.success) throw new Refusal(firstIssue(parsed.error));
  const account = c.get("account");
  const waitUntil = (work: Promise<unknown>) => c.executionCtx.waitUntil(work);
  const view = await snapshot(c.env, waitUntil);
  // Beside this answer: the next one knows how far each region is.
  waitUntil(measure(view, [...view.backends.values()]));
  const db = drizzle(c.env.DB);
  const now = Date.now();
  const hour = { from: quarterHourOf(now - HOUR_MS), to: quarterHourOf(now) + QUARTER_HOUR_MS };
  const filters = { model: undefined, key: undefined, region: undefined, backend: undefined };
  const own = statements(db, account, { groupBy: "region", filters, ...hour }, [hour.from], hour);
  const [[owner], rows] = await db.batch([
    db.select({ fleetView: accounts.fleetView }).from(accounts).where(eq(accounts.id, account)),
    own.all,
  ]);
  const isFull = owner?.fleetView === "full";
  const pools = await standingOfPools(c.env, view);
  const [events, outages] = await db.batch([
    db
      .select()
      .from(fleetEvents)
      .where(isFull ? undefined : isNull(fleetEvents.backend))
      .orderBy(desc(fleetEvents.id))
      .limit(MAX_EVENTS),
    db.select({ region: fleetOutages.subject }).from(fleetOutages).where(eq(fleetOutages.kind, "region")),
  ]);
  const down = new Set(outages.map(({ region }) => region));

  const met = new Map<string | null, Sums>();
  const sumOf = (id: string | null) => {
    const known = met.get(id) ?? new Sums();
    met.set(id, known);
    return known;
  };
  for (const row of rows) sumOf(row.id).addRow(row);

  const standings = pools.flatMap(({ region, model, backends }) =>
    backends.map((backend) => ({ ...backend, region, model })),
  );
  const data = [...view.regions.values()]
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map((region) => {
      const backends = standings.filter((backend) => backend.region === region.id);
      return {
        ...regionView(region),
        state: stateOf(backends, down.has(region.id)),
        own: ownView(sumOf(region.id)),
        models: [...new Set(backends.map(({ model }) => model))].sort(),
        backends: isFull ? backends.map(backendView) : null,
      };
    });
  return c.json({ object: "list", data, events: events.map(eventView) });
}

const regionView = (region: Region) => {
  const distanceMs = distanceTo(region, undefined);
  return {
    id: region.id,
    name: region.name,
    zone: region.zone,
    jurisdiction: region.jurisdiction,
    simulated: region.simulatedDistanceMs !== null,
    simulated_distance_ms: region.simulatedDistanceMs,
    distance_ms: distanceMs === undefined ? null : Math.round(distanceMs * 10) / 10,
  };
};

/**
 * Down is what is recorded as down (fleet/events.ts), so that this, the list of events and webhooks say the same; the
 * rest is of all its backends as they stand. One that nobody could ask about says nothing.
 */
export function stateOf(backends: readonly Pick<BackendStanding, "state">[], isDown: boolean) {
  const known = backends.filter(({ state }) => state !== "unknown");
  const many = (state: BackendStanding["state"]) => known.filter((backend) => backend.state === state).length;
  const [up, draining] = [many("up"), many("draining")];
  if (known.length === 0) return "unknown";
  if (isDown) return "down";
  if (up === 0 && draining > 0) return "draining";
  return up + draining < known.length ? "degraded" : "healthy";
}

function ownView(sums: Sums) {
  const { requests, failed, ttft_ms, cache_share } = sums.view();
  return {
    requests,
    failed,
    ttft_ms: ttft_ms && { p50: ttft_ms.p50, p95: ttft_ms.p95 },
    cache_share,
  };
}

const backendView = (backend: Standing) => ({
  id: backend.id,
  name: backend.name,
  model: backend.model,
  kind: backend.kind,
  chip: backend.chip,
  plays: backend.plays,
  state: backend.state,
  reason: backend.reason,
  running: backend.running,
  waiting: backend.waiting,
  placed: backend.placed,
  max_concurrent: backend.maxConcurrent,
  cache_use: backend.cacheUsage,
  prefix_hit_share: backend.prefixHitShare,
  ttft_ms: backend.ttftMs === null ? null : Math.round(backend.ttftMs),
  error_share: backend.errorShare === null ? null : Math.round(backend.errorShare * 10_000) / 10_000,
  since: backend.sinceMs === null ? null : iso(backend.sinceMs),
});

const eventView = ({ at, region, backend, kind, message }: typeof fleetEvents.$inferSelect) => ({
  at: iso(at),
  region,
  backend,
  kind,
  message,
});
