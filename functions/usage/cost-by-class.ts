/** What each class of a request's tokens cost, so that the parts add up to what was charged. */
import { formatUsd, type Rates } from "../money.ts";

interface Counted {
  readonly prompt_tokens: number;
  readonly cached_tokens: number;
  readonly completion_tokens: number;
}

const MILLION = 1_000_000n;

/**
 * A request is rounded once, not class by class: each class gets what it adds to the rounded sum so far. Where less
 * was charged than tokens times rates (never more than was held), the last classes have the less.
 */
export function costByClass(usage: Counted, rates: Rates, charged: bigint) {
  const classes = [
    { class: "input", tokens: usage.prompt_tokens - usage.cached_tokens, rate: rates.input },
    { class: "cached_input", tokens: usage.cached_tokens, rate: rates.cachedInput },
    { class: "output", tokens: usage.completion_tokens, rate: rates.output },
  ];
  let exact = 0n;
  let shared = 0n;
  return classes.map(({ tokens, rate, ...name }, i) => {
    exact += BigInt(tokens) * BigInt(rate);
    const rounded = (exact + MILLION / 2n) / MILLION;
    const upTo = i === classes.length - 1 || rounded > charged ? charged : rounded;
    const cost = upTo - shared;
    shared = upTo;
    return {
      ...name,
      tokens,
      rate_nanodollars_per_million: String(rate),
      cost: formatUsd(cost),
      cost_nanodollars: String(cost),
    };
  });
}
