/** Time is UTC, in milliseconds since the epoch. Buckets of usage are quarter hours: zones at :30 and :45 exist. */
export const SECOND_MS = 1_000;
export const MINUTE_MS = 60_000;
export const QUARTER_HOUR_MS = 15 * MINUTE_MS;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;

/** The start of the quarter hour that holds `ms`. */
export const quarterHourOf = (ms: number): number => Math.floor(ms / QUARTER_HOUR_MS) * QUARTER_HOUR_MS;

/** The UTC day that holds `ms`, counted from the epoch. */
export const dayOf = (ms: number): number => Math.floor(ms / DAY_MS);

/** The first day of the UTC month that holds `ms`, or of the month `months` later, counted from the epoch. */
export function monthOf(ms: number, months = 0): number {
  const date = new Date(ms);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + months) / DAY_MS;
}

/** Resolves after `ms`, or at once when `signal` aborts. Never rejects. */
export function after(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}

/**
 * The value, or undefined when it takes longer than `ms`. Leaves no timer behind. Asked for each piece of a stream:
 * a controller and a race for each would cost more than all else that is done for the piece.
 */
export function within<T>(ms: number, value: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    value.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
