/**
 * Outlier ejection: a backend that does far worse than the others of its pool (region and model) is set aside for a
 * while, though each of its failures alone would be no reason. At most half of a pool is out at a time: when most of
 * a pool looks bad, the cause is elsewhere.
 */
import { attemptsSeen, failureRate, isEjected, isResting } from "./standing.ts";
import type { FleetView, Health } from "./types.ts";

/** Attempts lately below which a backend is not judged. */
const LEAST_ATTEMPTS = 5;
/** Its share of failures is above that of the others by this. */
const FAR_FAILURE_RATE = 0.25;
/** Its time to first token is this many times the others' median, and this much longer. */
const FAR_TTFT_TIMES = 4;
const FAR_TTFT_MS = 2_000;

/** Whether `after`, the backend's health with its newest outcome, is far off its pool's and it may be ejected. */
export function isOutlier(fleet: FleetView, backend: string, after: Health, nowMs: number): boolean {
  if (isEjected(after, nowMs) || attemptsSeen(after, nowMs) < LEAST_ATTEMPTS) return false;
  const suspect = failureRate(after, nowMs) > FAR_FAILURE_RATE || after.ttftMs > FAR_TTFT_MS;
  if (!suspect) return false;
  const others = othersOfPool(fleet, backend);
  const out = others.filter((health) => isEjected(health, nowMs) || isResting(health, nowMs)).length;
  if (out + 1 > (others.length + 1) / 2) return false;
  const seen = others.filter(
    (health) => health !== undefined && attemptsSeen(health, nowMs) >= LEAST_ATTEMPTS,
  );
  return fails(after, seen as Health[], nowMs) || isSlow(after, seen as Health[]);
}

function fails(after: Health, others: readonly Health[], nowMs: number): boolean {
  // Nobody to compare with: the breaker alone judges.
  if (others.length === 0) return false;
  const theirs = others.reduce((sum, health) => sum + failureRate(health, nowMs), 0) / others.length;
  return failureRate(after, nowMs) > theirs + FAR_FAILURE_RATE;
}

function isSlow(after: Health, others: readonly Health[]): boolean {
  const times = others.map(({ ttftMs }) => ttftMs).filter((ttftMs) => ttftMs > 0);
  const median = times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)];
  if (median === undefined) return false;
  return after.ttftMs > median * FAR_TTFT_TIMES && after.ttftMs > median + FAR_TTFT_MS;
}

function othersOfPool(fleet: FleetView, backend: string): (Health | undefined)[] {
  const self = fleet.backends.find(({ id }) => id === backend);
  if (!self) return [];
  return fleet.backends
    .filter(({ id, region, model }) => id !== backend && region === self.region && model === self.model)
    .map(({ id }) => fleet.health[id]);
}
