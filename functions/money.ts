/**
 * Money is an integer: nanodollars (1e-9 USD). The only arithmetic on money of the whole platform is here.
 * A safe integer holds 9.0 million USD, which is the most that one account may have; products of tokens and
 * prices pass 2^53 early (131,072 tokens at 75 USD a million), so they are taken in BigInt.
 */
import type { PriceId } from "./ids.ts";

export type Nanodollars = number & { readonly unit: "nanodollars" };

/** Nanodollars a million tokens, for each class. Classes are disjoint; reasoning is a part of output. */
export interface Rates {
  readonly input: Nanodollars;
  readonly cachedInput: Nanodollars;
  readonly output: Nanodollars;
}

/** One version of a model's price: append-only, in force from `effectiveAt` (ms since the epoch, UTC). */
export interface PriceVersion extends Rates {
  readonly id: PriceId;
  readonly model: string;
  readonly effectiveAt: number;
}

/** Tokens of one request. Classes are disjoint: the prompt's tokens are `input + cachedInput`. */
export interface Usage {
  readonly input: number;
  readonly cachedInput: number;
  readonly output: number;
  /** A part of `output`. */
  readonly reasoning: number;
  /** Who counted: the backend, the edge as it wrote, or nobody (an estimate). */
  readonly source: "backend" | "edge" | "estimate";
}

export const NO_USAGE: Usage = { input: 0, cachedInput: 0, output: 0, reasoning: 0, source: "backend" };

const NANO = 1_000_000_000n;
const MILLION = 1_000_000n;

/** Brands a safe integer as money. Throws on anything else: a fraction of a nanodollar is a bug. */
export function nanodollars(value: number | bigint): Nanodollars {
  const number = Number(value);
  if (!Number.isSafeInteger(number))
    throw new RangeError(`not a whole, safe number of nanodollars: ${value}`);
  return number as Nanodollars;
}

export const ZERO = nanodollars(0);
export const plus = (a: Nanodollars, b: Nanodollars): Nanodollars => nanodollars(a + b);
export const minus = (a: Nanodollars, b: Nanodollars): Nanodollars => nanodollars(a - b);
export const least = (a: Nanodollars, b: Nanodollars): Nanodollars => (a < b ? a : b);

/**
 * What tokens cost: the exact sum of tokens x rate, divided by a million, rounded half up once at the end.
 * Throws on a count or a rate that is not a non-negative safe integer (see usage/plausible.ts, which makes counts
 * so): a negative one would pay the caller.
 */
export function price(usage: Pick<Usage, "input" | "cachedInput" | "output">, rates: Rates): Nanodollars {
  const sum =
    natural(usage.input) * natural(rates.input) +
    natural(usage.cachedInput) * natural(rates.cachedInput) +
    natural(usage.output) * natural(rates.output);
  return nanodollars((sum + MILLION / 2n) / MILLION);
}

function natural(value: number): bigint {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`not a count of tokens, nor a rate: ${value}`);
  return BigInt(value);
}

/** `1.5` or `"1.5"` USD as nanodollars; undefined when it is no decimal of at most nine places in range. */
export function parseUsd(text: string): Nanodollars | undefined {
  const match = /^(-?)(\d{1,7})(?:\.(\d{1,9}))?$/.exec(text.trim());
  if (!match) return undefined;
  const whole = BigInt(match[2]!) * NANO + BigInt((match[3] ?? "").padEnd(9, "0"));
  const value = Number(match[1] ? -whole : whole);
  return Number.isSafeInteger(value) ? (value as Nanodollars) : undefined;
}

/** Exact decimal USD without trailing zeros: 1_500_000_000 is `"1.5"`. */
export function formatUsd(value: Nanodollars | bigint): string {
  const nano = BigInt(value);
  const sign = nano < 0n ? "-" : "";
  const abs = nano < 0n ? -nano : nano;
  const fraction = (abs % NANO).toString().padStart(9, "0").replace(/0+$/, "");
  return `${sign}${abs / NANO}${fraction ? `.${fraction}` : ""}`;
}
