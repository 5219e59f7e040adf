/**
 * Counts from backends are as untrusted as anything from outside: this is where they become a Usage or nothing.
 * Bounds are the request's own: a prompt has at most a token a byte, and no backend was told to write more than
 * `maxOutput`, in all its answers together.
 */
import type { Usage } from "../money.ts";

/** As a backend says it: OpenAI's words, each value unchecked. */
export interface Claimed {
  readonly promptTokens: unknown;
  readonly cachedTokens?: unknown;
  readonly completionTokens: unknown;
  readonly reasoningTokens?: unknown;
}

export interface Bound {
  readonly maxInput: number;
  readonly maxOutput: number;
}

/** Disjoint classes within the bound; undefined when a count is missing, negative, not whole, or impossible. */
export function plausible(claimed: Claimed, bound: Bound): Usage | undefined {
  const prompt = count(claimed.promptTokens, bound.maxInput);
  const output = count(claimed.completionTokens, bound.maxOutput);
  // Details are optional everywhere; an absurd detail costs the whole claim its trust.
  const cached = claimed.cachedTokens == null ? 0 : count(claimed.cachedTokens, prompt ?? 0);
  const reasoning = claimed.reasoningTokens == null ? 0 : count(claimed.reasoningTokens, output ?? 0);
  if (prompt === undefined || output === undefined || cached === undefined || reasoning === undefined)
    return undefined;
  return { input: prompt - cached, cachedInput: cached, output, reasoning, source: "backend" };
}

function count(value: unknown, most: number): number | undefined {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most
    ? (value as number)
    : undefined;
}
