/** This isolate's retry budget, a model at a time: when everything fails, backends see 1.1 times the traffic, not four. */
import { countRequest, NO_REQUESTS, type RetryBudget, takeRetry } from "../../router/retryBudget.ts";

const budgets = new Map<string, RetryBudget>();

export function count(model: string): void {
  budgets.set(model, countRequest(budgets.get(model) ?? NO_REQUESTS, Date.now()));
}

/** Takes one attempt beyond the first; false: not now. Going on after a refusal, which did no work, is free. */
export function mayRetry(model: string, after: "failed" | "refused"): boolean {
  const left = takeRetry(budgets.get(model) ?? NO_REQUESTS, Date.now(), after);
  if (left) budgets.set(model, left);
  return left !== undefined;
}
