import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { learnRate, type Measured, NOTHING_MEASURED, rateOf } from "./measured.ts";

const taught = (samples: readonly (readonly [tokens: number, seconds: number])[], slowed = 1): Measured =>
  samples.reduce<Measured>(
    (measured, [tokens, seconds]) => learnRate(measured, "decode", tokens, seconds, { slowed }),
    NOTHING_MEASURED,
  );

describe("a measured rate", () => {
  it("is known from the third sample on, and is one stream's alone", () => {
    expect(
      rateOf(
        taught([
          [100, 2],
          [100, 2],
        ]).decode,
      ),
    ).toBeUndefined();
    expect(
      rateOf(
        taught([
          [100, 2],
          [100, 2],
          [100, 2],
        ]).decode,
      ),
    ).toBe(50);
    expect(
      rateOf(
        taught(
          [
            [100, 2],
            [100, 2],
            [100, 2],
          ],
          2,
        ).decode,
      ),
    ).toBe(100);
  });

  it("is not moved by a minority of samples, however far off they are", () => {
    const good = Array.from({ length: 8 }, (_, at) => [100 + at, 2] as const);
    for (const bad of [
      [8, 500],
      [1_000_000, 0.2],
    ] as const) {
      const rate = rateOf(taught([...good, ...Array.from({ length: 7 }, () => bad)]).decode)!;
      expect(rate).toBeGreaterThanOrEqual(50);
      expect(rate).toBeLessThanOrEqual(54);
    }
  });

  it("follows a change within its memory", () => {
    const slow = Array.from({ length: 100 }, () => [100, 10] as const);
    const fast = Array.from({ length: 15 }, () => [100, 1] as const);
    expect(rateOf(taught([...slow, ...fast]).decode)).toBe(100);
  });

  it.each([
    ["no time", 100, 0],
    ["a negative time", 100, -1],
    ["less time than the clock can tell", 100, 0.01],
    ["too little work", 3, 1],
    ["no number of tokens", Number.NaN, 1],
    ["no number of seconds", 100, Number.NaN],
    ["endless tokens", Number.POSITIVE_INFINITY, 1],
    ["endless seconds", 100, Number.POSITIVE_INFINITY],
    ["a rate of no machine", 1e12, 1],
  ])("takes no sample of %s", (_what, tokens, seconds) => {
    expect(learnRate(NOTHING_MEASURED, "decode", tokens, seconds)).toBe(NOTHING_MEASURED);
  });

  it("too fast for the clock is at least so fast: it counts where less is believed, and only there", () => {
    const learnt = learnRate(NOTHING_MEASURED, "prefill", 1_000, 0.001, { believed: 200 });
    expect(learnt.prefill).toEqual([20_000]);
    expect(learnRate(learnt, "prefill", 130, 0.001, { believed: 20_000 })).toBe(learnt);
  });

  it("is finite, positive and bounded in memory, whatever is said", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.double(), fc.double()), { maxLength: 60 }), (samples) => {
        const { decode } = taught(samples);
        expect(decode.length).toBeLessThanOrEqual(15);
        for (const rate of decode) expect(rate > 0 && Number.isFinite(rate)).toBe(true);
      }),
    );
  });
});
