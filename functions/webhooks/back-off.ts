/** When a delivery that failed is tried again: exponentially later, with jitter, over four days. */
import { DAY_MS, SECOND_MS } from "../clock.ts";

/** After that many it has failed. */
export const MAX_TRIES = 11;
/** An endpoint whose every attempt failed for as long is disabled. */
export const DISABLE_AFTER_MS = 3 * DAY_MS;

export const FIRST_RETRY_MS = 5 * SECOND_MS;
const MAX_MS = DAY_MS;

/**
 * From a failure to the next try, in ms: 5 s, 20 s, 80 s, ... a day at most, give or take a fifth; later where the
 * endpoint asks for it, but a day at most there too. `tries` counts those that failed; undefined: that was the last.
 */
export function nextDelay(
  tries: number,
  retryAfter: string | null,
  now: number,
  random: () => number,
  firstMs = FIRST_RETRY_MS,
): number | undefined {
  if (tries >= MAX_TRIES) return undefined;
  const delay = Math.min(MAX_MS, firstMs * 4 ** (tries - 1)) * (0.8 + 0.4 * random());
  return Math.round(Math.min(MAX_MS * 1.2, Math.max(delay, askedFor(retryAfter, now))));
}

/** Retry-After (RFC 9110, 10.2.3): seconds or a date, between now and in a day. What is neither asks for nothing. */
function askedFor(retryAfter: string | null, now: number): number {
  if (retryAfter === null) return 0;
  const text = retryAfter.trim();
  const ms = /^\d+$/.test(text) ? Number(text) * SECOND_MS : Date.parse(text) - now;
  return Number.isNaN(ms) ? 0 : Math.min(MAX_MS, Math.max(0, ms));
}
