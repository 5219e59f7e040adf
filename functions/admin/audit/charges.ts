/**
 * Journal rows against the price versions that they name: a request costs its tokens at those rates, at most its
 * hold; what was added later stays within both. Fed in the journal's order; keeps the adjusted requests and those
 * of the last minutes, nothing else.
 */
import { MINUTE_MS } from "../../clock.ts";
import type { RequestId } from "../../ids.ts";
import { least, minus, type Nanodollars, type PriceVersion, price, ZERO } from "../../money.ts";
import type { JournalRow } from "../../objects/ledger.ts";
import type { Findings } from "./findings.ts";

/** Backends keep an attempt's report for 30 minutes after its end: asked only while that is certain. */
const ASKABLE_MS = 25 * MINUTE_MS;
const MOST_ASKED = 200;
/** Late counts come within 1 hour and 11 minutes; twice that is kept in memory. */
const ADJUSTABLE_MS = 150 * MINUTE_MS;

export interface Tokens {
  readonly input: number;
  readonly cachedInput: number;
  readonly output: number;
}

/** A request with all that was posted for it. */
export interface Charged {
  readonly row: JournalRow;
  readonly tokens: Tokens;
  readonly cost: Nanodollars;
  readonly adjusted: boolean;
}

export class Charges {
  readonly #prices: ReadonlyMap<string, PriceVersion>;
  readonly #findings: Findings;
  /** In the journal's order, so the oldest come first. */
  readonly #recent = new Map<RequestId, Charged>();

  constructor(prices: ReadonlyMap<string, PriceVersion>, findings: Findings) {
    this.#prices = prices;
    this.#findings = findings;
  }

  see(row: JournalRow): void {
    if (row.kind === "usage") this.#usage(row);
    if (row.kind === "adjustment") this.#adjustment(row);
  }

  /** The newest requests whose backends can still be asked. */
  askable(now: number): Charged[] {
    return [...this.#recent.values()].filter(({ row }) => row.at > now - ASKABLE_MS).slice(-MOST_ASKED);
  }

  #usage(row: JournalRow): void {
    const tokens = tokensOf(row);
    const cost = minus(ZERO, row.amount);
    const due = this.#due(row, tokens);
    if (due === undefined) return;
    if (due !== cost)
      this.#findings.add(
        "charge",
        `entry ${row.sequence} (${row.requestId}) cost ${cost} and should have cost ${due}`,
      );
    if (row.requestId === null) return;
    this.#recent.set(row.requestId, { row, tokens, cost, adjusted: false });
    for (const [id, { row: old }] of this.#recent) {
      if (old.at > row.at - ADJUSTABLE_MS) break;
      this.#recent.delete(id);
    }
  }

  #adjustment(row: JournalRow): void {
    const before = row.requestId === null ? undefined : this.#recent.get(row.requestId);
    if (!before) {
      this.#findings.add(
        "charge",
        `entry ${row.sequence} adjusts ${row.requestId}, which no entry lately settled`,
      );
      return;
    }
    const more = tokensOf(row);
    const tokens = {
      input: before.tokens.input + more.input,
      cachedInput: before.tokens.cachedInput + more.cachedInput,
      output: before.tokens.output + more.output,
    };
    const cost = minus(before.cost, row.amount);
    const due = this.#due(row, tokens);
    // Less is right where no more was available.
    if (due !== undefined && (row.amount >= 0 || cost > due)) {
      this.#findings.add(
        "charge",
        `entry ${row.sequence} adjusts ${row.requestId} to ${cost} and at most ${due} is right`,
      );
    }
    this.#recent.set(row.requestId!, { row: before.row, tokens, cost, adjusted: true });
  }

  /** What these tokens cost with the version that the row names; undefined, with a finding, where that cannot be said. */
  #due(row: JournalRow, tokens: Tokens): Nanodollars | undefined {
    const version = row.priceId === null ? undefined : this.#prices.get(row.priceId);
    if (!version || version.model !== row.model) {
      this.#findings.add(
        "charge",
        `entry ${row.sequence} names ${row.priceId}, which is no price of ${row.model}`,
      );
      return undefined;
    }
    if (
      row.held === null ||
      Object.values(tokens).some((count) => !Number.isSafeInteger(count) || count < 0)
    ) {
      this.#findings.add("charge", `entry ${row.sequence} has no hold, or counts that are none`);
      return undefined;
    }
    return least(price(tokens, version), row.held);
  }
}

const tokensOf = (row: JournalRow): Tokens => ({
  input: row.input ?? -1,
  cachedInput: row.cachedInput ?? -1,
  output: row.output ?? -1,
});
