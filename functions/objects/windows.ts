/**
 * Rate limits of a key: requests and tokens in the last sixty seconds, a sliding window. Lives in the memory of
 * the account's object and is rebuilt from the last minute's rows when that starts again.
 * Tokens count as the most that a request can use until it is settled, then as what it used.
 */
import type { LimitState, Limits } from "../admission/holder.ts";
import { MINUTE_MS } from "../clock.ts";

export interface KeyLimits {
  readonly requestsPerMinute: number | null;
  readonly tokensPerMinute: number | null;
}

export type Decision =
  | { readonly ok: true }
  | { readonly ok: false; readonly limit: "requests" | "tokens"; readonly retryAfterMs: number };

interface Entry {
  readonly requestId: string;
  readonly at: number;
  tokens: number;
}

export class RateWindows {
  readonly #entries = new Map<string, Entry[]>();

  /** Whether a request of `tokens` may pass now. Writes nothing: `record` does, once money was found too. */
  decide(key: string, limits: KeyLimits, tokens: number, now: number): Decision {
    const entries = this.#recent(key, now);
    const { requestsPerMinute, tokensPerMinute } = limits;
    if (requestsPerMinute !== null && entries.length >= requestsPerMinute) {
      const freed = entries[entries.length - requestsPerMinute];
      return { ok: false, limit: "requests", retryAfterMs: freed ? freed.at + MINUTE_MS - now : MINUTE_MS };
    }
    if (tokensPerMinute === null) return { ok: true };
    let excess = sum(entries) + tokens - tokensPerMinute;
    if (excess <= 0) return { ok: true };
    for (const entry of entries) {
      excess -= entry.tokens;
      if (excess <= 0) return { ok: false, limit: "tokens", retryAfterMs: entry.at + MINUTE_MS - now };
    }
    return { ok: false, limit: "tokens", retryAfterMs: MINUTE_MS };
  }

  /** Kept in the order of time, in whatever order rows bring requests back after a start. */
  record(key: string, requestId: string, tokens: number, at: number): void {
    const entries = this.#entries.get(key) ?? [];
    let place = entries.length;
    while (place > 0 && entries[place - 1]!.at > at) place--;
    entries.splice(place, 0, { requestId, at, tokens });
    this.#entries.set(key, entries);
  }

  /** Drops what a minute has passed by: a key that is used no more holds no memory. */
  forget(now: number): void {
    for (const key of [...this.#entries.keys()]) {
      if (this.#recent(key, now).length === 0) this.#entries.delete(key);
    }
  }

  /** A settled request counts as what it used. */
  correct(key: string, requestId: string, tokens: number): void {
    const entry = this.#entries.get(key)?.findLast((candidate) => candidate.requestId === requestId);
    if (entry) entry.tokens = tokens;
  }

  /** What the client is told: the state after the decision. */
  state(key: string, limits: KeyLimits, now: number): Limits {
    const entries = this.#recent(key, now);
    const newest = entries.at(-1);
    const resetMs = newest ? newest.at + MINUTE_MS - now : 0;
    const of = (limit: number, used: number): LimitState => ({
      limit,
      remaining: Math.max(0, limit - used),
      resetMs,
    });
    return {
      ...(limits.requestsPerMinute !== null && { requests: of(limits.requestsPerMinute, entries.length) }),
      ...(limits.tokensPerMinute !== null && { tokens: of(limits.tokensPerMinute, sum(entries)) }),
    };
  }

  #recent(key: string, now: number): Entry[] {
    const entries = this.#entries.get(key);
    if (!entries) return [];
    let old = 0;
    while (old < entries.length && entries[old]!.at <= now - MINUTE_MS) old++;
    if (old) entries.splice(0, old);
    return entries;
  }
}

const sum = (entries: readonly Entry[]): number => entries.reduce((total, entry) => total + entry.tokens, 0);
