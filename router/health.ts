/** What outcomes teach: a backend that fails rests, longer each time, and one success ends it. */
import type { FleetView, Health, Outcome } from "./types.ts";

const FIRST_REST_MS = 1_000;
const LONGEST_REST_MS = 30_000;
export const REST_PENALTY_SECONDS = 1_000;

/** The view after an outcome. Returns the same view when nothing changed. */
export function observe(fleet: FleetView, outcome: Outcome, nowMs: number): FleetView {
  const before = fleet.health[outcome.backend];
  if (outcome.kind === "served") {
    if (!before) return fleet;
    const { [outcome.backend]: _, ...health } = fleet.health;
    return { ...fleet, version: fleet.version + 1, health };
  }
  const failures = (before?.failures ?? 0) + 1;
  const restMs = Math.min(LONGEST_REST_MS, FIRST_REST_MS * 2 ** (failures - 1));
  const after: Health = { failures, retryAtMs: nowMs + restMs };
  return { ...fleet, version: fleet.version + 1, health: { ...fleet.health, [outcome.backend]: after } };
}

export function isResting(health: Health | undefined, nowMs: number): boolean {
  return health !== undefined && health.retryAtMs > nowMs;
}
