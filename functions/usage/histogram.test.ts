import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { random } from "../../test/money/random.ts";
import { add, countOf, EMPTY, histogramOf, merge, quantile, RANGE, RELATIVE_ERROR } from "./histogram.ts";
import { fromHex, toHex } from "./rollup.ts";

const value = fc.double({ min: RANGE.from, max: RANGE.to * 0.999, noNaN: true });
const values = fc.array(value, { maxLength: 300 });

describe("a histogram", () => {
  it("answers each quantile within its error bound", () => {
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 1, maxLength: 300 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (all, q) => {
          const sorted = [...all].sort((a, b) => a - b);
          const exact = sorted[Math.max(1, Math.ceil(q * all.length)) - 1]!;
          const answered = quantile(histogramOf(all), q)!;
          expect(Math.abs(answered - exact) / exact).toBeLessThanOrEqual(RELATIVE_ERROR + 1e-9);
        },
      ),
      random("histogram quantile", 300),
    );
  });

  it("is the same bytes however its values were split, ordered and merged", () => {
    fc.assert(
      fc.property(values, values, values, (a, b, c) => {
        const whole = histogramOf([...a, ...b, ...c]);
        const [x, y, z] = [a, b, c].map(histogramOf) as [Uint8Array, Uint8Array, Uint8Array];
        expect(merge(merge(z, x), y)).toEqual(whole);
        expect(merge(x, merge(y, z))).toEqual(whole);
        expect(a.reduce(add, merge(y, z))).toEqual(whole);
        expect(countOf(whole)).toBe(a.length + b.length + c.length);
      }),
      random("histogram merge", 200),
    );
  });

  it("changes nothing when an empty one is merged into it", () => {
    const some = histogramOf([1, 20, 300]);
    expect(merge(some, EMPTY)).toEqual(some);
    expect(merge(EMPTY, EMPTY)).toEqual(EMPTY);
    expect(quantile(EMPTY, 0.5)).toBeUndefined();
  });

  it("keeps counts that no byte holds", () => {
    let doubled = histogramOf([100]);
    for (let i = 0; i < 40; i++) doubled = merge(doubled, doubled);
    expect(countOf(doubled)).toBe(2 ** 40);
  });

  it("counts what is outside its range in its first and last bucket", () => {
    const all = histogramOf([0, 0.001, 1e12]);
    expect(countOf(all)).toBe(3);
    expect(quantile(all, 0)).toBeLessThan(1);
    expect(quantile(all, 1)).toBeGreaterThan(9e5);
  });

  it("stays small: an hour of traffic in each bucket fits half a kilobyte", () => {
    const everywhere = Array.from({ length: 105 }, (_, i) => 0.55 * 2 ** (i / 5));
    let blob = histogramOf(everywhere);
    for (let i = 0; i < 17; i++) blob = merge(blob, blob);
    expect(blob.length).toBeLessThanOrEqual(512);
  });

  it("refuses values and bytes that are none", () => {
    for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => histogramOf([bad])).toThrow(RangeError);
    for (const bad of [[0], [0, 128], [200, 1], [5, 1, 3, 1], [5, 0]])
      expect(() => countOf(Uint8Array.from(bad))).toThrow(RangeError);
  });

  it("crosses SQL as hex and comes back", () => {
    fc.assert(
      fc.property(values, (all) => void expect(fromHex(toHex(histogramOf(all)))).toEqual(histogramOf(all))),
    );
  });
});
