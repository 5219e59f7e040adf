/** Backends, requests and views to test the router with: plain ones, and arbitrary ones for properties. */
import fc from "fast-check";
import { UNKNOWN } from "../../router/health.ts";
import type { BackendView, FleetView, Health, RouteRequest } from "../../router/types.ts";

export const NOW_MS = 1_800_000_000_000;

export const half = () => 0.5;

export function backend(id: string, more: Partial<BackendView> = {}): BackendView {
  return { id, region: "us-east", model: "model", state: "active", distanceMs: 20, ...more };
}

export function request(more: Partial<RouteRequest> = {}): RouteRequest {
  return {
    model: "model",
    promptTokens: 1_000,
    maxOutput: 200,
    blocks: [],
    salt: "acct_1",
    edgeZone: "weur",
    preferences: {},
    exclude: [],
    budgetMs: 60_000,
    ...more,
  };
}

export function fleetOf(backends: readonly BackendView[], more: Partial<FleetView> = {}): FleetView {
  return { version: 1, backends, health: {}, ...more };
}

export function health(more: Partial<Health>): Health {
  return { ...UNKNOWN, ...more };
}

const regions = ["us-east", "eu-west", "ap-east"];
const anyRegion = fc.constantFrom(...regions);
const names = fc.subarray(["b0", "b1", "b2", "b3", ...regions, "elsewhere"]);
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });

/** Without the keys that are absent, as exact optional types have it. */
const dense = <T extends object>(record: T) =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };

const anyHealth = fc
  .record({
    failures: fc.nat(8),
    retryAtMs: fc.constantFrom(0, NOW_MS - 1, NOW_MS + 5_000),
    probeAtMs: fc.constantFrom(0, NOW_MS - 10),
    ejectedUntilMs: fc.constantFrom(0, NOW_MS + 5_000),
    busyUntilMs: fc.constantFrom(0, NOW_MS + 500),
    drainingUntilMs: fc.constantFrom(0, NOW_MS + 500),
    failed: fc.nat(10),
    served: fc.nat(10),
    countedAtMs: fc.constant(NOW_MS),
  })
  .map(health);

export const anyFleet: fc.Arbitrary<FleetView> = fc
  .array(
    fc.record({
      region: anyRegion,
      state: fc.constantFrom("active" as const, "active" as const, "draining" as const),
      distanceMs: maybe(fc.nat(300)),
      contextLength: maybe(fc.constantFrom(1_000, 8_000, 131_072)),
      tools: maybe(fc.boolean()),
      placed: maybe(fc.nat(40)),
      running: maybe(fc.nat(20)),
      waiting: maybe(fc.nat(20)),
      cacheUsage: maybe(fc.double({ min: 0, max: 1, noNaN: true })),
      maxConcurrent: maybe(fc.integer({ min: 1, max: 16 })),
      health: maybe(anyHealth),
    }),
    { maxLength: 12 },
  )
  .map((rows) => {
    const backends = rows.map(({ health: _, ...row }, at) => backend(`b${at}`, dense(row)));
    const known = rows.flatMap((row, at) => (row.health ? [[`b${at}`, row.health] as const] : []));
    return fleetOf(backends, { health: Object.fromEntries(known) });
  });

export const anyRequest: fc.Arbitrary<RouteRequest> = fc
  .record({
    promptTokens: fc.integer({ min: 1, max: 100_000 }),
    maxOutput: fc.integer({ min: 1, max: 4_096 }),
    tools: maybe(fc.boolean()),
    residency: maybe(fc.subarray(regions)),
    exclude: fc.subarray(["b0", "b1", "b2"]),
    budgetMs: fc.constantFrom(50, 5_000, 60_000),
    session: maybe(fc.string()),
    preferences: fc
      .record({
        region: maybe(anyRegion),
        order: maybe(names),
        only: maybe(names),
        ignore: maybe(names),
        allow_fallbacks: maybe(fc.boolean()),
        sort: maybe(fc.constantFrom("price" as const, "throughput" as const, "latency" as const)),
      })
      .map(dense),
  })
  .map((row) => request(dense(row)));
