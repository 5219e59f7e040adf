/**
 * Sums of usage over rollups, and how an answer shows them: once as totals, and as a series with a list a field.
 * Counts may pass 2^53: SQL gives them as text, and they are added in BigInt. Percentiles do not add: histograms do.
 */
import { formatUsd } from "../money.ts";
import { addCounts, addHex, type Counts, noCounts, quantileOf } from "./histogram.ts";

export const COUNTS = [
  "requests",
  "failures",
  "clientLeft",
  "refused",
  "failedOver",
  "input",
  "cachedInput",
  "output",
  "reasoning",
  "cost",
] as const;
export type CountField = (typeof COUNTS)[number];

export class Sums {
  readonly #counts: Record<CountField, bigint> = {
    requests: 0n,
    failures: 0n,
    clientLeft: 0n,
    refused: 0n,
    failedOver: 0n,
    input: 0n,
    cachedInput: 0n,
    output: 0n,
    reasoning: 0n,
    cost: 0n,
  };
  /** Made when the first histogram comes: most of an answer's cells are empty. */
  #ttft: Counts | undefined;
  #speed: Counts | undefined;

  /** A row of sums as SQL's text, and of histograms as hex, one after another. */
  addRow(row: Readonly<Record<CountField | "ttft" | "speed", string>>): void {
    for (const field of COUNTS) this.#counts[field] += BigInt(row[field]);
    if (row.ttft !== "") addHex((this.#ttft ??= noCounts()), row.ttft);
    if (row.speed !== "") addHex((this.#speed ??= noCounts()), row.speed);
  }

  add(more: Sums): void {
    for (const field of COUNTS) this.#counts[field] += more.#counts[field];
    if (more.#ttft) addCounts((this.#ttft ??= noCounts()), more.#ttft);
    if (more.#speed) addCounts((this.#speed ??= noCounts()), more.#speed);
  }

  get cost(): bigint {
    return this.#counts.cost;
  }
  get requests(): bigint {
    return this.#counts.requests;
  }

  /** The prompt's tokens are input and cached_input: the classes are disjoint. The four outcomes add up to requests. */
  view() {
    const {
      requests,
      failures,
      clientLeft,
      refused,
      failedOver,
      input,
      cachedInput,
      output,
      reasoning,
      cost,
    } = this.#counts;
    const prompt = input + cachedInput;
    return {
      requests: count(requests),
      failures: count(failures),
      finished: count(requests - failures - clientLeft - refused),
      client_left: count(clientLeft),
      failed: count(failures),
      refused: count(refused),
      failed_over: count(failedOver),
      input_tokens: count(input),
      cached_input_tokens: count(cachedInput),
      output_tokens: count(output),
      reasoning_tokens: count(reasoning),
      cost: formatUsd(cost),
      cost_nanodollars: String(cost),
      ttft_ms: this.#ttft
        ? { p50: at(this.#ttft, 0.5), p95: at(this.#ttft, 0.95), p99: at(this.#ttft, 0.99) }
        : null,
      output_tokens_per_second: this.#speed ? { p5: at(this.#speed, 0.05), p50: at(this.#speed, 0.5) } : null,
      cache_share: prompt === 0n ? null : Number(cachedInput) / Number(prompt),
    };
  }
}

type View = ReturnType<Sums["view"]>;
type Series = { readonly [Field in keyof View]: View[Field][] };

/** The same fields, each a list with an entry a bucket. */
export function seriesOf(cells: readonly Sums[]): Series {
  const views = cells.map((cell) => cell.view());
  const fields = Object.keys(new Sums().view()) as (keyof View)[];
  return Object.fromEntries(fields.map((field) => [field, views.map((view) => view[field])])) as Series;
}

export function total(cells: readonly Sums[]): Sums {
  const sum = new Sums();
  for (const cell of cells) sum.add(cell);
  return sum;
}

/** To three digits: a histogram knows no more. */
const at = (counts: Counts, q: number): number => Number(quantileOf(counts, q)!.toPrecision(3));

/** A number where JSON's readers take it exactly, its text where they would round it. */
const count = (value: bigint): number | string =>
  value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : String(value);
