/** How full a backend is: what runs, what waits, how fast that drains, and when it is too much. */
import { decodeRate, prefillRate } from "./rates.ts";
import type { BackendView } from "./types.ts";

/**
 * How much longer a step takes at the limit than alone: 1 is twice as long, so each of `maxConcurrent` streams runs
 * at half the speed of one. Linear in between: a step reads the weights once, and each stream's cache beside them.
 */
export const SLOWING_AT_LIMIT = 1;
/** Where a backend names no limit, the slowing is reckoned as if it were this. */
export const ASSUMED_CONCURRENT = 32;
/** Tokens of a usual answer: Azure's conversation trace (2023) has a mean of 211, Mooncake's (2024) of 343. */
export const USUAL_OUTPUT_TOKENS = 256;

/**
 * Requests there now. The pool's count is exact for what this edge placed; the server's gauges are older but see
 * what others sent: the larger one counts.
 */
export function inFlight(backend: BackendView): number {
  return Math.max(backend.placed ?? 0, (backend.running ?? 0) + (backend.waiting ?? 0));
}

export function waiting(backend: BackendView): number {
  const said = backend.waiting ?? 0;
  if (backend.maxConcurrent === undefined) return said;
  return Math.max(said, inFlight(backend) - backend.maxConcurrent);
}

/** Streams that share its steps. */
export function running(backend: BackendView): number {
  return inFlight(backend) - waiting(backend);
}

/** How much longer its steps take for what runs there: 1 is alone. */
export function slowing(backend: BackendView): number {
  return 1 + (SLOWING_AT_LIMIT * running(backend)) / (backend.maxConcurrent ?? ASSUMED_CONCURRENT);
}

/**
 * What one more stream costs those that run there, in steps: each of them gets slower by one stream's share, for as
 * long as it runs.
 */
export function slowingOfOthers(backend: BackendView): number {
  return slowing(backend) - 1;
}

/** Seconds between two places that become free: a usual answer's time over all that run. */
export function secondsAPlace(backend: BackendView): number {
  const answer = (USUAL_OUTPUT_TOKENS / decodeRate(backend)) * slowing(backend);
  // A server that lets requests wait without naming a limit shows it by what it runs.
  return answer / (backend.maxConcurrent ?? Math.max(1, running(backend)));
}

/** Seconds until one more request would start: the places that must become free, and the prompts before it. */
export function queueSeconds(backend: BackendView): number {
  const prompts = (backend.pendingPrefillTokens ?? 0) / prefillRate(backend);
  const ahead = waiting(backend);
  const full = ahead > 0 || inFlight(backend) >= (backend.maxConcurrent ?? Number.POSITIVE_INFINITY);
  return full ? (ahead + 1) * secondsAPlace(backend) + prompts : prompts;
}

/** Requests that may wait there: as many as run, unless it says. */
export function maxWaiting(backend: BackendView): number {
  return backend.maxWaiting ?? backend.maxConcurrent ?? Number.POSITIVE_INFINITY;
}

export function isFull(backend: BackendView): boolean {
  return backend.maxConcurrent !== undefined && room(backend) <= 0;
}

/** Seconds until a full backend would take one more. */
export function roomSeconds(backend: BackendView): number {
  return (1 - room(backend)) * secondsAPlace(backend);
}

/** How many more it takes, running or waiting. */
function room(backend: BackendView): number {
  return (backend.maxConcurrent ?? 0) + maxWaiting(backend) - inFlight(backend);
}
