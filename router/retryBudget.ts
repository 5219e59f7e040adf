/**
 * How many attempts beyond the first may be made: a tenth of the last ten seconds' requests, and ten at least. When
 * everything fails, the backends see 1.1 times the traffic and not four times.
 */

export const RETRY_SHARE = 0.1;
export const RETRY_FLOOR = 10;
const WINDOW_SECONDS = 10;

/** Counts by the second, the last ten of them. */
export interface RetryBudget {
  readonly seconds: readonly {
    readonly second: number;
    readonly requests: number;
    readonly retries: number;
  }[];
}

export const NO_REQUESTS: RetryBudget = { seconds: [] };

/** A request came in. */
export function countRequest(budget: RetryBudget, nowMs: number): RetryBudget {
  return added(budget, nowMs, 1, 0);
}

/**
 * Asks for one more attempt; undefined: not now. A backend that refused before anything was sent to the client, as
 * busy ones do, has done no work: going on to the next is free, so say `refused`.
 */
export function takeRetry(
  budget: RetryBudget,
  nowMs: number,
  after: "failed" | "refused",
): RetryBudget | undefined {
  if (after === "refused") return budget;
  return retriesLeft(budget, nowMs) >= 1 ? added(budget, nowMs, 0, 1) : undefined;
}

export function retriesLeft(budget: RetryBudget, nowMs: number): number {
  let requests = 0;
  let retries = 0;
  for (const second of within(budget, nowMs)) {
    requests += second.requests;
    retries += second.retries;
  }
  return Math.max(RETRY_FLOOR, Math.floor(requests * RETRY_SHARE)) - retries;
}

function added(budget: RetryBudget, nowMs: number, requests: number, retries: number): RetryBudget {
  const second = Math.floor(nowMs / 1000);
  const seconds = within(budget, nowMs);
  const current = seconds.find((one) => one.second === second) ?? { second, requests: 0, retries: 0 };
  const others = seconds.filter((one) => one !== current);
  return {
    seconds: [
      ...others,
      { second, requests: current.requests + requests, retries: current.retries + retries },
    ],
  };
}

function within({ seconds }: RetryBudget, nowMs: number) {
  const second = Math.floor(nowMs / 1000);
  return seconds.filter((one) => one.second > second - WINDOW_SECONDS && one.second <= second);
}
