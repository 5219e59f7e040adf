import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MINUTE_MS } from "../clock.ts";
import { type KeyLimits, RateWindows } from "./windows.ts";

const NONE: KeyLimits = { requestsPerMinute: null, tokensPerMinute: null };

interface Entry {
  id: string;
  at: number;
  tokens: number;
}

/** Says it the slow way: the entries of the last sixty seconds, counted one by one. */
class Oracle {
  entries: Entry[] = [];
  fits(limits: KeyLimits, tokens: number, now: number): boolean {
    const recent = this.entries.filter((entry) => entry.at > now - MINUTE_MS);
    const used = recent.reduce((sum, entry) => sum + entry.tokens, 0);
    return (
      (limits.requestsPerMinute === null || recent.length + 1 <= limits.requestsPerMinute) &&
      (limits.tokensPerMinute === null || used + tokens <= limits.tokensPerMinute)
    );
  }
}

const limit = (max: number) => fc.option(fc.integer({ min: 1, max }), { nil: null });
const step = fc.record({
  pass: fc.nat({ max: 25_000 }),
  tokens: fc.nat({ max: 60 }),
  /** Corrects the entry this far back, when there is one. */
  correct: fc.option(fc.record({ back: fc.nat({ max: 5 }), tokens: fc.nat({ max: 60 }) }), {
    nil: undefined,
  }),
});

describe("a key's rate windows", () => {
  it("decide as counting every request of the last sixty seconds does, and say rightly when to come again", () => {
    fc.assert(
      fc.property(
        limit(6),
        limit(200),
        fc.array(step, { maxLength: 60 }),
        (requestsPerMinute, tokensPerMinute, steps) => {
          const limits = { requestsPerMinute, tokensPerMinute };
          const [windows, oracle] = [new RateWindows(), new Oracle()];
          let now = 1_000_000;
          for (const [i, { pass, tokens, correct }] of steps.entries()) {
            now += pass;
            const decision = windows.decide("key", limits, tokens, now);
            expect(decision.ok).toBe(oracle.fits(limits, tokens, now));
            if (decision.ok) {
              windows.record("key", `req${i}`, tokens, now);
              oracle.entries.push({ id: `req${i}`, at: now, tokens });
            } else if (tokensPerMinute === null || tokens <= tokensPerMinute) {
              const again = now + decision.retryAfterMs;
              const limited =
                decision.limit === "requests"
                  ? { ...limits, tokensPerMinute: null }
                  : { ...limits, requestsPerMinute: null };
              expect(oracle.fits(limited, tokens, again)).toBe(true);
              expect(oracle.fits(limited, tokens, again - 1)).toBe(false);
            }
            const corrected = correct && oracle.entries.at(-1 - correct.back);
            if (corrected) {
              corrected.tokens = correct.tokens;
              windows.correct("key", corrected.id, correct.tokens);
            }
          }
        },
      ),
    );
  });

  it("are the same in whatever order a start brings the requests back", () => {
    const entries = fc.uniqueArray(fc.nat({ max: 2 * MINUTE_MS }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(
        entries,
        fc.infiniteStream(fc.nat()),
        fc.nat({ max: 3 * MINUTE_MS }),
        (times, order, now) => {
          const limits = { requestsPerMinute: 5, tokensPerMinute: 500 };
          const [sorted, shuffled] = [new RateWindows(), new RateWindows()];
          const record = (windows: RateWindows, at: number) => windows.record("key", `at ${at}`, 60, at);
          for (const at of times.toSorted((a, b) => a - b)) record(sorted, at);
          const keyed = times.map((at) => ({ at, by: order.next().value! }));
          for (const { at } of keyed.sort((a, b) => a.by - b.by)) record(shuffled, at);
          expect(shuffled.decide("key", limits, 60, now)).toEqual(sorted.decide("key", limits, 60, now));
          expect(shuffled.state("key", limits, now)).toEqual(sorted.state("key", limits, now));
        },
      ),
    );
  });

  it("count a request to the last millisecond of its minute", () => {
    const windows = new RateWindows();
    const limits = { requestsPerMinute: 1, tokensPerMinute: null };
    windows.record("key", "req", 1, 5);
    expect(windows.decide("key", limits, 1, 4 + MINUTE_MS)).toEqual({
      ok: false,
      limit: "requests",
      retryAfterMs: 1,
    });
    expect(windows.decide("key", limits, 1, 5 + MINUTE_MS)).toEqual({ ok: true });
  });

  it("write nothing when they decide", () => {
    const windows = new RateWindows();
    const limits = { requestsPerMinute: 1, tokensPerMinute: 10 };
    for (let i = 0; i < 3; i++) expect(windows.decide("key", limits, 10, 0)).toEqual({ ok: true });
  });

  it("are each key's own", () => {
    const windows = new RateWindows();
    const limits = { requestsPerMinute: 1, tokensPerMinute: null };
    windows.record("one", "req", 1, 0);
    windows.correct("other", "req", 100);
    expect(windows.decide("one", limits, 1, 1).ok).toBe(false);
    expect(windows.decide("other", limits, 1, 1).ok).toBe(true);
  });

  it("tell what is left, never less than nothing, and name no limit that a key does not have", () => {
    const windows = new RateWindows();
    windows.record("key", "req", 30, 1_000);
    expect(windows.state("key", { requestsPerMinute: 2, tokensPerMinute: 20 }, 2_000)).toEqual({
      requests: { limit: 2, remaining: 1, resetMs: MINUTE_MS - 1_000 },
      tokens: { limit: 20, remaining: 0, resetMs: MINUTE_MS - 1_000 },
    });
    expect(windows.state("key", NONE, 2_000)).toEqual({});
  });

  it("refuse everything at a limit of zero", () => {
    const windows = new RateWindows();
    expect(windows.decide("key", { requestsPerMinute: 0, tokensPerMinute: null }, 1, 0).ok).toBe(false);
    expect(windows.decide("key", { requestsPerMinute: null, tokensPerMinute: 0 }, 1, 0).ok).toBe(false);
  });

  it("forget what is past and nothing else", () => {
    const windows = new RateWindows();
    const limits = { requestsPerMinute: 1, tokensPerMinute: null };
    windows.record("idle", "req1", 1, 0);
    windows.record("busy", "req2", 1, 30_000);
    windows.forget(MINUTE_MS);
    expect(windows.decide("idle", limits, 1, 1).ok).toBe(true); // asked about a minute that is gone, it has nothing
    expect(windows.decide("busy", limits, 1, MINUTE_MS).ok).toBe(false);
  });
});
