/** Time is UTC, in milliseconds since the epoch. Buckets of usage are quarter hours: zones at :30 and :45 exist. */
export const SECOND_MS = 1_000;
export const MINUTE_MS = 60_000;
export const QUARTER_HOUR_MS = 15 * MINUTE_MS;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;

/** The start of the quarter hour that holds `ms`. */
export const quarterHourOf = (ms: number): number => Math.floor(ms / QUARTER_HOUR_MS) * QUARTER_HOUR_MS;

/** The first start of a quarter hour that is not before `ms`. */
export const quarterHourFrom = (ms: number): number => quarterHourOf(ms + QUARTER_HOUR_MS - 1);

/** The UTC day that holds `ms`, counted from the epoch. */
export const dayOf = (ms: number): number => Math.floor(ms / DAY_MS);

/** The first day of the UTC month that holds `ms`, or of the month `months` later, counted from the epoch. */
export function monthOf(ms: number, months = 0): number {
  const date = new Date(ms);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + months) / DAY_MS;
}

/** An instant as the API writes it: ISO 8601, UTC. Null stays null. */
export function iso(ms: number): string;
export function iso(ms: number | null): string | null;
export function iso(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}

/** Resolves after `ms`, or at once when `signal` aborts or there is nothing to wait. Never rejects. */
export function after(ms: number, signal?: AbortSignal): Promise<void> {
  if (ms <= 0) return Promise.resolve();
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

/** The value, or undefined when it takes longer than `ms`. Leaves no timer behind. */
export async function within<T>(ms: number, value: Promise<T>): Promise<T | undefined> {
  const patience = new Patience();
  try {
    return await patience.within(ms, value);
  } finally {
    patience.end();
  }
}

/**
 * Waits for one thing after another, each so long and no longer, with one timer for all of them: the pieces of a
 * stream come by the thousand, and a timer for each would cost more than all else that is done for it.
 */
export class Patience {
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the timer rings, and when what is waited for is late. */
  #ringsAt = Number.POSITIVE_INFINITY;
  #lateAt = Number.POSITIVE_INFINITY;
  #late: (() => void) | undefined;

  /** The value, or undefined when it takes longer than `ms`. One at a time. */
  within<T>(ms: number, value: Promise<T>): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      this.#lateAt = Date.now() + ms;
      this.#late = () => resolve(undefined);
      if (this.#lateAt < this.#ringsAt) this.#ring();
      const come = <R>(settle: (result: R) => void) => {
        return (result: R) => {
          this.#late = undefined;
          settle(result);
        };
      };
      value.then(come(resolve), come(reject));
    });
  }

  /** Leaves no timer behind. */
  end(): void {
    clearTimeout(this.#timer);
    this.#ringsAt = Number.POSITIVE_INFINITY;
  }

  #ring(): void {
    clearTimeout(this.#timer);
    this.#ringsAt = this.#lateAt;
    this.#timer = setTimeout(() => {
      this.#ringsAt = Number.POSITIVE_INFINITY;
      if (!this.#late) return; // Nothing is waited for: the next wait sets it again.
      if (Date.now() < this.#lateAt) this.#ring();
      else this.#late();
    }, this.#lateAt - Date.now());
  }
}
