/**
 * Rates learnt from what was seen of a backend, one sample at a time: the median of the last ones. A median, because
 * samples lie: a stopped process, a reader that stalls, a prompt that was cached after all, a backend that makes
 * itself faster than it is. Half of the last ones must agree before a rate follows.
 */

/** Samples that are remembered, and how many make a rate. */
const REMEMBERED = 15;
const ENOUGH = 3;
/** Below and beyond these a sample is no rate of any machine. */
const LEAST_RATE = 0.01;
const MOST_RATE = 10_000_000;
/** A sample of less work is noise; one of less time is too short for the clock. */
const LEAST_TOKENS = { prefill: 128, decode: 8 } as const;
const LEAST_SECONDS = 0.05;

/** Tokens a second, the oldest sample first. */
export type Samples = readonly number[];

export interface Measured {
  readonly prefill: Samples;
  readonly decode: Samples;
}

export const NOTHING_MEASURED: Measured = { prefill: [], decode: [] };

/**
 * With one more sample: `tokens` in `seconds`. `slowed` is how many times longer that took than it would have alone
 * (`slowing`): rates are of a backend that does nothing else. A sample that cannot be one changes nothing; one that
 * was too short for the clock (or less than nothing: what was taken off for the way was too much) says "at least so
 * fast", and counts only where that is more than is `believed`.
 */
export function learnRate(
  measured: Measured,
  what: keyof Measured,
  tokens: number,
  seconds: number,
  { slowed = 1, believed = Number.POSITIVE_INFINITY }: { slowed?: number; believed?: number } = {},
): Measured {
  const rate = (tokens / Math.max(seconds, LEAST_SECONDS)) * slowed;
  if (!(tokens >= LEAST_TOKENS[what] && rate >= LEAST_RATE && rate <= MOST_RATE)) return measured;
  if (seconds < LEAST_SECONDS && rate <= believed) return measured;
  return { ...measured, [what]: [...measured[what].slice(1 - REMEMBERED), rate] };
}

/** The rate, tokens a second; undefined until there are enough samples. */
export function rateOf(samples: Samples): number | undefined {
  if (samples.length < ENOUGH) return undefined;
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1];
}
