/**
 * What one step computes: the next token of every sequence that has its prompt behind it, and as many tokens of the
 * others' prompts as the budget allows. Half of that budget is the oldest prompt's, so that nothing overtakes it for
 * ever; the other half goes to whoever needs the least, so that a short prompt does not wait for a long one.
 */
import type { Sequence } from "./sequence.ts";

export interface Planned {
  readonly sequence: Sequence;
  /** Of the prompt, or 1 where the last token is computed. */
  readonly tokens: number;
}

/** Below this a chunk reads the weights too often for what it computes. */
const leastChunk = 16;

/**
 * running: by arrival. budget: tokens of prompts. Where `attentionDoublesCostAt` tokens come before a token it costs
 * two of the budget, and so on, so that steps take about as long all through a long prompt.
 */
export function planStep(
  running: readonly Sequence[],
  budget: number,
  attentionDoublesCostAt: number,
): Planned[] {
  const prefilling = running.filter((sequence) => !sequence.isPrefilled);
  const chunks = new Map<Sequence, number>();
  let left = budget;
  const give = (sequence: Sequence, share: number, least: number) => {
    const given = chunks.get(sequence) ?? 0;
    const cost = 1 + sequence.prefilledTokens / attentionDoublesCostAt;
    const wanted = sequence.unfilledTokens - given;
    const affordable = Math.max(Math.floor(share / cost), Math.min(least, Math.floor(left)));
    const tokens = Math.min(wanted, affordable);
    // A few tokens only where they are the last.
    if (tokens < Math.min(leastChunk, wanted) && given === 0 && least === 0) return;
    chunks.set(sequence, given + tokens);
    left = Math.max(0, left - tokens * cost);
  };

  const [oldest] = prefilling;
  if (oldest) give(oldest, budget / 2, leastChunk);
  const others = prefilling.filter((sequence) => sequence !== oldest);
  // A stable sort: among equals the one that came first.
  others.sort((a, b) => a.unfilledTokens - b.unfilledTokens);
  for (const sequence of others) give(sequence, left, 0);
  if (oldest) give(oldest, left, 0);

  return running.flatMap((sequence) => {
    const tokens = sequence.isPrefilled ? 1 : (chunks.get(sequence) ?? 0);
    return tokens > 0 ? [{ sequence, tokens }] : [];
  });
}
