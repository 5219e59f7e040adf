/**
 * What the journal keeps of one request's way: when each step began and ended, and who else could have served it.
 * Backends, regions, figures and words of ours only: nothing of the prompt or the answer. It travels in the
 * settlement, as one column of the journal's row, so it costs no row and stays under 4 KB.
 */
import type { Placement } from "../../router/types.ts";
import type { Ranking } from "../fleet/route.ts";

export interface SpanRecord {
  readonly name: "admit" | "route" | "attempt" | "first_token" | "decode";
  readonly attempt?: number;
  /** Milliseconds from the request's arrival. */
  readonly start: number;
  readonly end: number;
  readonly outcome?: string;
}

export interface CandidateRecord {
  readonly backend: string;
  readonly region: string;
  /** The router's cost, in seconds, and its terms in the order of the record's `terms`. Absent: it was turned down. */
  readonly cost?: number;
  readonly terms?: readonly number[];
  readonly excluded?: string;
}

export interface TraceRecord {
  /** When the request arrived, by the edge's clock, ms since the epoch. */
  readonly at: number;
  readonly spans: readonly SpanRecord[];
  /** The names of the router's terms. */
  readonly terms: readonly string[];
  readonly placements: readonly {
    readonly attempt: number;
    /** Which backend it became; absent: none. */
    readonly chosen?: string;
    readonly candidates: readonly CandidateRecord[];
  }[];
}

export const MAX_CANDIDATES = 10;
export const MAX_TRACE_BYTES = 4_096;

interface PlacementRecord {
  attempt: number;
  chosen?: string;
  candidates: CandidateRecord[];
}

export class Trace {
  readonly #at: number;
  readonly #spans: SpanRecord[] = [];
  readonly #terms: string[] = [];
  readonly #placements: PlacementRecord[] = [];
  /** The attempt whose answer is under way, and since when. */
  #decoding: { readonly attempt: number; readonly since: number } | undefined;

  constructor(arrivedAt: number) {
    this.#at = arrivedAt;
  }

  admitted(at: number): void {
    this.#span({ name: "admit" }, this.#at, at);
  }

  /** The search for a place, and whom it was between. `chosen` is undefined where there was none. */
  routed(
    attempt: number,
    from: number,
    to: number,
    outcome: string,
    ranking: Ranking,
    chosen?: string,
  ): void {
    this.#span({ name: "route", attempt, outcome }, from, to);
    const ranked = ranking.ranked.slice(0, MAX_CANDIDATES).map((placement) => this.#candidate(placement));
    const turnedDown = ranking.turnedDown
      .slice(0, MAX_CANDIDATES - ranked.length)
      .map(({ backend, region, reason }) => ({ backend, region, excluded: reason }));
    this.#placements.push({
      attempt,
      ...(chosen !== undefined && { chosen }),
      candidates: [...ranked, ...turnedDown],
    });
  }

  /** From sending to the first token, or to the failure. */
  attempted(attempt: number, from: number, to: number, outcome: string): void {
    this.#span({ name: "attempt", attempt, outcome }, from, to);
    if (outcome !== "served") return;
    this.#span({ name: "first_token", attempt }, to, to);
    this.#decoding = { attempt, since: to };
  }

  /** The answer that was under way is over. */
  ended(at: number, outcome: string): void {
    const decoding = this.#decoding;
    if (!decoding) return;
    this.#decoding = undefined;
    this.#span({ name: "decode", attempt: decoding.attempt, outcome }, decoding.since, at);
  }

  /** As it is kept: where it would be too large, the least likely candidates of the fullest placement go first. */
  record(): TraceRecord {
    const placements = this.#placements.map((one) => ({ ...one, candidates: [...one.candidates] }));
    const record = { at: this.#at, spans: this.#spans, terms: this.#terms, placements };
    while (JSON.stringify(record).length > MAX_TRACE_BYTES) {
      const fullest = placements.reduce((a, b) => (b.candidates.length > a.candidates.length ? b : a));
      if (fullest.candidates.length === 0) return { ...record, placements: [] };
      fullest.candidates.pop();
    }
    return record;
  }

  #span(about: Omit<SpanRecord, "start" | "end">, from: number, to: number): void {
    this.#spans.push({ ...about, start: from - this.#at, end: to - this.#at });
  }

  #candidate({ decode, region, cost, terms }: Placement): CandidateRecord {
    for (const name of Object.keys(terms)) if (!this.#terms.includes(name)) this.#terms.push(name);
    return {
      backend: decode,
      region,
      cost: rounded(cost),
      terms: this.#terms.map((name) => rounded(terms[name] ?? 0)),
    };
  }
}

/** Seconds to the tenth of a millisecond: terms are compared by eye. */
const rounded = (seconds: number): number => Math.round(seconds * 10_000) / 10_000;
