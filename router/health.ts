/**
 * What outcomes teach of one backend: the circuit breaker, what a failure counts for, and signs of life. Comparing
 * a backend with its pool is ejection.ts; reading it is standing.ts.
 */
import { healthsAfter } from "./candidates.ts";
import { isOutlier } from "./ejection.ts";
import { faded, HALF_LIFE_MS, LEAST_FAILURE_SECONDS } from "./standing.ts";
import type { FleetView, Health, Outcome } from "./types.ts";

/** Failures in a row that open the breaker (Envoy's default for `consecutive_5xx`). */
export const OPEN_AFTER = 5;
const FIRST_REST_MS = 1_000;
const LONGEST_REST_MS = 30_000;
/** A rest is this many times what the failure cost: probing a silent backend takes at most a third of one caller. */
const REST_TIMES_FAILURE = 2;
const LONGEST_SILENT_REST_MS = 120_000;

const FIRST_EJECTION_MS = 5_000;
const LONGEST_EJECTION_MS = 60_000;

/** The slowest success fades more slowly: it is the scale, not the signal. */
const SLOWEST_HALF_LIFE_MS = 60_000;
const MEAN_WEIGHT = 0.2;

const BUSY_MS = 1_000;
const LONGEST_BUSY_MS = 30_000;
const DRAINING_MS = 30_000;

export const UNKNOWN: Health = {
  failures: 0,
  retryAtMs: 0,
  openedAtMs: 0,
  rests: 0,
  probeAtMs: 0,
  failedAtMs: 0,
  failureMs: 0,
  failureSeconds: LEAST_FAILURE_SECONDS,
  served: 0,
  failed: 0,
  countedAtMs: 0,
  ttftMs: 0,
  slowestMs: 0,
  askedAtMs: 0,
  ejectedUntilMs: 0,
  ejections: 0,
  busyUntilMs: 0,
  drainingUntilMs: 0,
};

/**
 * To be called when an attempt is sent. Takes the one probe of a half-open backend, and starts the clock of
 * silence. Every attempt that began ends in one `observe`.
 */
export function begin(fleet: FleetView, backend: string, nowMs: number): FleetView {
  const before = fleet.health[backend] ?? UNKNOWN;
  const probes = before.retryAtMs > 0 || before.ejectedUntilMs > nowMs;
  if (before.askedAtMs > 0 && !probes) return fleet;
  return changed(fleet, backend, {
    ...before,
    askedAtMs: before.askedAtMs || nowMs,
    probeAtMs: probes ? nowMs : before.probeAtMs,
  });
}

/** The view after an outcome. */
export function observe(fleet: FleetView, outcome: Outcome, nowMs: number): FleetView {
  const { backend } = outcome;
  const before = fleet.health[backend] ?? UNKNOWN;
  // Whatever it says, it spoke: the probe's slot is free and silence starts anew.
  const heard: Health = { ...before, askedAtMs: 0, probeAtMs: 0 };
  switch (outcome.kind) {
    case "left":
      return changed(fleet, backend, heard);
    case "refused": {
      const busyMs = Math.min(LONGEST_BUSY_MS, Math.max(0, outcome.retryAfterMs ?? BUSY_MS));
      return changed(fleet, backend, { ...heard, busyUntilMs: nowMs + busyMs });
    }
    case "draining":
      return changed(fleet, backend, { ...heard, drainingUntilMs: nowMs + DRAINING_MS });
    case "served": {
      const after = afterSuccess(counted(heard, nowMs, 1, 0), outcome.waitedMs, nowMs);
      return changed(fleet, backend, isOutlier(fleet, backend, after, nowMs) ? ejected(after, nowMs) : after);
    }
    case "failed":
    case "silent": {
      const after = afterFailure(counted(heard, nowMs, 0, 1), outcome, slowestSuccess(fleet, backend), nowMs);
      return changed(fleet, backend, isOutlier(fleet, backend, after, nowMs) ? ejected(after, nowMs) : after);
    }
  }
}

function afterSuccess(health: Health, waitedMs: number | undefined, nowMs: number): Health {
  return {
    ...health,
    failures: 0,
    retryAtMs: 0,
    rests: Math.max(0, health.rests - 1),
    drainingUntilMs: 0,
    ttftMs: mean(health.ttftMs, waitedMs),
    slowestMs: Math.max(health.slowestMs, waitedMs ?? 0),
    ejections:
      health.ejectedUntilMs > 0 && health.ejectedUntilMs <= nowMs ? health.ejections - 1 : health.ejections,
    ejectedUntilMs: health.ejectedUntilMs <= nowMs ? 0 : health.ejectedUntilMs,
  };
}

function afterFailure(health: Health, outcome: Outcome, slowestMs: number, nowMs: number): Health {
  const waitedMs = outcome.waitedMs ?? 0;
  const failures = health.failures + 1;
  const failed: Health = {
    ...health,
    failures,
    failedAtMs: nowMs,
    failureMs: waitedMs,
    // A failure costs as much as the slowest recent success, however fast it was: failing fast wins nothing.
    failureSeconds: Math.max(LEAST_FAILURE_SECONDS, slowestMs / 1000, waitedMs / 1000),
    ttftMs: outcome.kind === "silent" ? mean(health.ttftMs, waitedMs) : health.ttftMs,
  };
  const isOpen = health.retryAtMs > nowMs;
  const isHalfOpen = health.retryAtMs > 0 && !isOpen;
  // What was sent before the breaker opened says nothing new of the backend since.
  const isLate = health.retryAtMs > 0 && nowMs - waitedMs < health.openedAtMs;
  if (isOpen || isLate || (!isHalfOpen && failures < OPEN_AFTER)) return failed;
  const doubled = Math.min(LONGEST_REST_MS, FIRST_REST_MS * 2 ** health.rests);
  const restMs = Math.max(doubled, Math.min(LONGEST_SILENT_REST_MS, REST_TIMES_FAILURE * waitedMs));
  return { ...failed, openedAtMs: nowMs, retryAtMs: nowMs + restMs, rests: health.rests + 1 };
}

/** Out of its pool for a while, with a clean sheet for its return. */
function ejected(health: Health, nowMs: number): Health {
  const ejectedMs = Math.min(LONGEST_EJECTION_MS, FIRST_EJECTION_MS * 2 ** health.ejections);
  return {
    ...health,
    served: 0,
    failed: 0,
    ttftMs: 0,
    ejectedUntilMs: nowMs + ejectedMs,
    ejections: health.ejections + 1,
  };
}

/** The slowest recent success among those who serve the same model; of all, where the fleet does not list it. */
function slowestSuccess(fleet: FleetView, backend: string): number {
  const model = fleet.backends.find(({ id }) => id === backend)?.model;
  let slowestMs = 0;
  if (model === undefined) {
    for (const health of Object.values(fleet.health)) slowestMs = Math.max(slowestMs, health.slowestMs);
    return slowestMs;
  }
  for (const other of fleet.backends) {
    if (other.model === model) slowestMs = Math.max(slowestMs, fleet.health[other.id]?.slowestMs ?? 0);
  }
  return slowestMs;
}

function counted(health: Health, nowMs: number, served: number, failed: number): Health {
  const ageMs = nowMs - health.countedAtMs;
  return {
    ...health,
    served: faded(health.served, ageMs, HALF_LIFE_MS) + served,
    failed: faded(health.failed, ageMs, HALF_LIFE_MS) + failed,
    slowestMs: faded(health.slowestMs, ageMs, SLOWEST_HALF_LIFE_MS),
    countedAtMs: nowMs,
  };
}

function mean(before: number, sample: number | undefined): number {
  if (sample === undefined) return before;
  return before === 0 ? sample : before + (sample - before) * MEAN_WEIGHT;
}

function changed(fleet: FleetView, backend: string, entry: Health): FleetView {
  const health = { ...fleet.health, [backend]: entry };
  healthsAfter(fleet, [backend], health);
  return { ...fleet, version: fleet.version + 1, health };
}
