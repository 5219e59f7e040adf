/** Sums of usage over rollups. They may pass 2^53: SQL gives them as text, and they are added in BigInt. */
import { formatUsd } from "../money.ts";

const COUNTS = ["requests", "failures", "input", "cachedInput", "output", "reasoning"] as const;
type Field = (typeof COUNTS)[number] | "cost";
export type Sums = Readonly<Record<Field, bigint>>;

export const none = (): Sums => ({
  requests: 0n,
  failures: 0n,
  input: 0n,
  cachedInput: 0n,
  output: 0n,
  reasoning: 0n,
  cost: 0n,
});

export function add(sums: Sums, more: Readonly<Record<Field, bigint | string>>): Sums {
  const out = { ...sums };
  for (const field of [...COUNTS, "cost"] as const) out[field] += BigInt(more[field]);
  return out;
}

/** As an answer shows them. The prompt's tokens are input and cached_input: the classes are disjoint. */
export const sumView = (sums: Sums) => ({
  requests: count(sums.requests),
  failures: count(sums.failures),
  input_tokens: count(sums.input),
  cached_input_tokens: count(sums.cachedInput),
  output_tokens: count(sums.output),
  reasoning_tokens: count(sums.reasoning),
  cost: formatUsd(sums.cost),
  cost_nanodollars: String(sums.cost),
});

/** A number where JSON's readers take it exactly, its text where they would round it. */
const count = (value: bigint): number | string =>
  value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : String(value);
