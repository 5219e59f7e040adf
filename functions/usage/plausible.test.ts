import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nanodollars, price } from "../money.ts";
import { plausible } from "./plausible.ts";

const bound = { maxInput: 1_000, maxOutput: 200 };
const rates = {
  input: nanodollars(2_000_000),
  cachedInput: nanodollars(500_000),
  output: nanodollars(8_000_000),
};
const hold = price({ input: bound.maxInput, cachedInput: 0, output: bound.maxOutput }, rates);

/** What a backend may say where a count should be. */
const absurd = fc.constantFrom<unknown>(
  -1,
  -0.5,
  0.5,
  1.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  2 ** 31,
  2 ** 53,
  2 ** 63,
  2 ** 64,
  1e308,
  -(2 ** 53),
  "5",
  "",
  "NaN",
  "5e1",
  null,
  undefined,
  true,
  false,
  [],
  [5],
  {},
  { valueOf: () => 5 },
  5n,
  Symbol("5"),
  () => 5,
);
const said = fc.oneof(absurd, fc.integer({ min: -10, max: 1_500 }), fc.double());

describe("plausible", () => {
  it("makes disjoint classes: what was cached is no input, and reasoning is a part of the output", () => {
    expect(
      plausible({ promptTokens: 100, cachedTokens: 60, completionTokens: 20, reasoningTokens: 5 }, bound),
    ).toEqual({
      input: 40,
      cachedInput: 60,
      output: 20,
      reasoning: 5,
      source: "backend",
    });
  });

  it("takes the bound itself and nothing past it", () => {
    expect(plausible({ promptTokens: 1_000, completionTokens: 200 }, bound)).toMatchObject({
      input: 1_000,
      output: 200,
    });
    expect(plausible({ promptTokens: 1_001, completionTokens: 200 }, bound)).toBeUndefined();
    expect(plausible({ promptTokens: 1_000, completionTokens: 201 }, bound)).toBeUndefined();
  });

  it("refuses more cached tokens than the prompt has, and more reasoning than the output", () => {
    expect(plausible({ promptTokens: 10, cachedTokens: 11, completionTokens: 1 }, bound)).toBeUndefined();
    expect(plausible({ promptTokens: 10, completionTokens: 1, reasoningTokens: 2 }, bound)).toBeUndefined();
  });

  it("has no count where one of the two is missing, but needs no details", () => {
    expect(plausible({ promptTokens: 10, completionTokens: undefined }, bound)).toBeUndefined();
    expect(plausible({ promptTokens: null, completionTokens: 10 }, bound)).toBeUndefined();
    expect(plausible({ promptTokens: 10, cachedTokens: null, completionTokens: 1 }, bound)).toMatchObject({
      input: 10,
      cachedInput: 0,
    });
  });

  it("never gives a negative count, one past the bound, or a cost past the hold, whatever a backend says", () => {
    let believed = 0;
    fc.assert(
      fc.property(said, said, said, said, (promptTokens, cachedTokens, completionTokens, reasoningTokens) => {
        const usage = plausible({ promptTokens, cachedTokens, completionTokens, reasoningTokens }, bound);
        if (!usage) return;
        believed++;
        for (const count of [usage.input, usage.cachedInput, usage.output, usage.reasoning]) {
          expect(Number.isSafeInteger(count) && count >= 0).toBe(true);
        }
        expect(usage.input + usage.cachedInput).toBe(promptTokens);
        expect(usage.input + usage.cachedInput).toBeLessThanOrEqual(bound.maxInput);
        expect(usage.output).toBeLessThanOrEqual(bound.maxOutput);
        expect(usage.reasoning).toBeLessThanOrEqual(usage.output);
        expect(price(usage, rates)).toBeLessThanOrEqual(hold);
      }),
      { numRuns: 2_000, examples: [[10, 5, 3, 1]] },
    );
    expect(believed).toBeGreaterThan(0);
  });

  it("gives a count that was doubled on the way at most what the bound allows", () => {
    fc.assert(
      fc.property(fc.nat({ max: 1_000 }), fc.nat({ max: 200 }), (prompt, output) => {
        const doubled = plausible({ promptTokens: 2 * prompt, completionTokens: 2 * output }, bound);
        if (2 * prompt > bound.maxInput || 2 * output > bound.maxOutput) expect(doubled).toBeUndefined();
        else expect(price(doubled!, rates)).toBeLessThanOrEqual(hold);
      }),
    );
  });
});
