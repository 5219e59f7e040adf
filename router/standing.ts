/** What a backend's health means at a moment. Everything fades or ends by the clock, so it comes back by itself. */
import type { BackendView, Health } from "./types.ts";

/** A probe whose outcome never came frees its slot after this. */
export const PROBE_MS = 60_000;
/** Counts halve in this time: a few seconds of traffic decide, and a quarter of a minute forgives. */
export const HALF_LIFE_MS = 10_000;
/** Attempts that a backend is credited with at the start: one failure of a fresh one is not a rate of 1. */
const PRIOR_ATTEMPTS = 4;
const NOISE_RATE = 0.02;
/** The least a failure counts for, seconds, where no success was seen. */
export const LEAST_FAILURE_SECONDS = 1;
/** Waiting this long for a token is usual. */
const USUAL_SILENCE_MS = 1_000;
/** An attempt whose outcome was never told is forgotten after this. */
const LONGEST_SILENCE_MS = 60_000;

/** The breaker is open. */
export function isResting(health: Health | undefined, nowMs: number): boolean {
  return health !== undefined && health.retryAtMs > nowMs;
}

export function isEjected(health: Health | undefined, nowMs: number): boolean {
  return health !== undefined && health.ejectedUntilMs > nowMs;
}

/** Whether a backend gets requests, and why not, for people who look. */
export interface Standing {
  readonly state: "up" | "draining" | "resting" | "ejected" | "misconfigured";
  /** null: it is up, and nothing is held against it. */
  readonly reason: string | null;
}

export function standingOf(backend: BackendView, health: Health | undefined, nowMs: number): Standing {
  if (backend.lacksModel)
    return { state: "misconfigured", reason: "Its own list of models lacks the name it is to serve by." };
  if (backend.state === "draining") return { state: "draining", reason: "An operator drains it." };
  if (!health) return { state: "up", reason: null };
  if (health.drainingUntilMs > nowMs) return { state: "draining", reason: "It said that it is draining." };
  if (isResting(health, nowMs))
    return { state: "resting", reason: `It failed ${health.failures} times in a row.` };
  if (isEjected(health, nowMs))
    return { state: "ejected", reason: "It fails far more often, or is far slower, than its pool." };
  if (health.retryAtMs > 0)
    return { state: "resting", reason: "It failed, and one request at a time finds out whether it is back." };
  return { state: "up", reason: null };
}

/** A probe is under way and may still tell. */
export function isProbed(health: Health | undefined, nowMs: number): boolean {
  return health !== undefined && health.probeAtMs > 0 && nowMs - health.probeAtMs < PROBE_MS;
}

/**
 * Share of recent attempts that failed, 0 to 1, and more where the last ones did: after k failures in a row the next
 * is one with k in k + 2 (Laplace). Fades where nothing is tried.
 */
export function failureRate(health: Health, nowMs: number): number {
  if (health.failed === 0) return 0;
  const left = share(nowMs - health.countedAtMs);
  const recent = (health.failed * left) / ((health.served + health.failed) * left + PRIOR_ATTEMPTS);
  const row = (health.failures / (health.failures + 2)) * share(nowMs - health.failedAtMs);
  return Math.max(recent, row);
}

/** What the backends of one region tell of each other. */
export interface RegionTrouble {
  /** The mean of their failure rates. */
  rate: number;
  /** The latest failure of those whose last attempt failed. */
  failedAtMs: number;
}

export function regionTroubles(
  regions: number,
  candidates: readonly { readonly region: number }[],
  healths: readonly (Health | undefined)[],
  nowMs: number,
): readonly RegionTrouble[] {
  const troubles = Array.from({ length: regions }, () => ({ rate: 0, failedAtMs: 0 }));
  const counts = new Uint32Array(regions);
  for (let at = 0; at < candidates.length; at++) {
    const region = candidates[at]!.region;
    const health = healths[at];
    counts[region]!++;
    if (health === undefined || health.failed === 0) continue;
    const trouble = troubles[region]!;
    trouble.rate += failureRate(health, nowMs);
    if (health.failures > 0) trouble.failedAtMs = Math.max(trouble.failedAtMs, health.failedAtMs);
  }
  for (let region = 0; region < regions; region++) troubles[region]!.rate /= Math.max(1, counts[region]!);
  return troubles;
}

/**
 * Failures there for each success, from the rate at which they come. What kills one often kills its neighbours, so
 * the region's rate counts as well, for all that have not answered since. Below 2 % it is noise.
 */
export function failureOdds(health: Health | undefined, around: RegionTrouble, nowMs: number): number {
  const own = health === undefined ? 0 : failureRate(health, nowMs);
  const hasAnswered = health?.failures === 0 && health.countedAtMs >= around.failedAtMs;
  const rate = hasAnswered ? own : Math.max(own, around.rate);
  return rate < NOISE_RATE ? 0 : rate / (1 - rate);
}

/** How much recent evidence there is, in attempts. */
export function attemptsSeen(health: Health, nowMs: number): number {
  return faded(health.served + health.failed, nowMs - health.countedAtMs, HALF_LIFE_MS);
}

/**
 * Seconds that it has owed a token, beyond what is usual. Who has been silent for long will be silent for about as
 * long again; this turns traffic away from a stopped process before the first of its callers gives up.
 */
export function silentSeconds(health: Health, nowMs: number): number {
  if (health.askedAtMs === 0) return 0;
  const silentMs = nowMs - health.askedAtMs;
  if (silentMs > LONGEST_SILENCE_MS) return 0;
  return Math.max(0, silentMs - Math.max(USUAL_SILENCE_MS, health.ttftMs)) / 1000;
}

export function faded(count: number, ageMs: number, halfLifeMs: number): number {
  return count * 0.5 ** (Math.max(0, ageMs) / halfLifeMs);
}

/** `faded`, for the thousands of times that a decision needs it: a table by the quarter second, up to 64 s. */
const STEP_MS = 250;
const SHARES = Float64Array.from({ length: 256 }, (_, step) => faded(1, step * STEP_MS, HALF_LIFE_MS));

function share(ageMs: number): number {
  return ageMs <= 0 ? 1 : (SHARES[Math.floor(ageMs / STEP_MS)] ?? 0);
}
