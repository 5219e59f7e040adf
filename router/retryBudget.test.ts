import fc from "fast-check";
import { expect, it } from "vitest";
import {
  countRequest,
  NO_REQUESTS,
  RETRY_FLOOR,
  type RetryBudget,
  retriesLeft,
  takeRetry,
} from "./retryBudget.ts";

const requests = (budget: RetryBudget, count: number, nowMs: number) =>
  Array.from({ length: count }).reduce<RetryBudget>((counted) => countRequest(counted, nowMs), budget);

function takeAll(budget: RetryBudget, nowMs: number): { taken: number; budget: RetryBudget } {
  let taken = 0;
  let left = budget;
  for (let next = takeRetry(left, nowMs, "failed"); next; next = takeRetry(left, nowMs, "failed")) {
    left = next;
    taken++;
  }
  return { taken, budget: left };
}

it("a tenth of the last ten seconds' requests may be tried again, and ten at least", () => {
  expect(takeAll(NO_REQUESTS, 0).taken).toBe(RETRY_FLOOR);
  expect(takeAll(requests(NO_REQUESTS, 1_000, 0), 0).taken).toBe(100);
});

it("what is older than ten seconds counts no more, requests and retries alike", () => {
  const busy = takeAll(requests(NO_REQUESTS, 1_000, 0), 0).budget;
  expect(retriesLeft(busy, 9_999)).toBe(0);
  expect(retriesLeft(busy, 10_000)).toBe(RETRY_FLOOR);
});

it("a refusal before anything was sent is free", () => {
  const { budget } = takeAll(NO_REQUESTS, 0);
  expect(takeRetry(budget, 0, "failed")).toBeUndefined();
  expect(takeRetry(budget, 0, "refused")).toBe(budget);
});

it("in any ten seconds of any history, retries stay within the budget of what came before", () => {
  const step = fc.record({ gapMs: fc.nat(900), requests: fc.nat(40), retries: fc.nat(40) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      let budget = NO_REQUESTS;
      let nowMs = 0;
      let all = 0;
      let taken = 0;
      for (const { gapMs, requests: came, retries } of steps) {
        nowMs += gapMs;
        budget = requests(budget, came, nowMs);
        all += came;
        for (let count = 0; count < retries; count++) {
          const next = takeRetry(budget, nowMs, "failed");
          if (!next) break;
          budget = next;
          taken++;
        }
        expect(budget.seconds.length).toBeLessThanOrEqual(10);
      }
      expect(taken).toBeLessThanOrEqual(
        all * 0.1 + RETRY_FLOOR * Math.ceil((nowMs + 1) / 10_000) + RETRY_FLOOR,
      );
    }),
    { verbose: true },
  );
});
