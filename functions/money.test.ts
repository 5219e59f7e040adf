import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatUsd, least, minus, nanodollars, parseUsd, plus, price, type Rates, ZERO } from "./money.ts";

const tokens = fc.nat({ max: 2_000_000 });
/** Up to 1,000 USD a million tokens: ten times the dearest model there is. */
const rate = fc.nat({ max: 1_000_000_000_000 }).map((value) => nanodollars(value));
const rates: fc.Arbitrary<Rates> = fc.record({ input: rate, cachedInput: rate, output: rate });
const usage = fc.record({ input: tokens, cachedInput: tokens, output: tokens });
const money = fc.maxSafeInteger().map((value) => nanodollars(value));

describe("price", () => {
  it("is the exact sum of tokens and rates, rounded half up once at the end", () => {
    fc.assert(
      fc.property(usage, rates, (used, at) => {
        const exact =
          BigInt(used.input) * BigInt(at.input) +
          BigInt(used.cachedInput) * BigInt(at.cachedInput) +
          BigInt(used.output) * BigInt(at.output);
        const [whole, rest] = [exact / 1_000_000n, exact % 1_000_000n];
        expect(BigInt(price(used, at))).toBe(rest >= 500_000n ? whole + 1n : whole);
      }),
    );
  });

  it("rounds half up: 0.5 nanodollars are 1, less is nothing, and three thirds of a token's price are summed first", () => {
    const at = (value: number): Rates => ({
      input: nanodollars(value),
      cachedInput: nanodollars(value),
      output: nanodollars(value),
    });
    expect(price({ input: 1, cachedInput: 0, output: 0 }, at(500_000))).toBe(1);
    expect(price({ input: 1, cachedInput: 0, output: 0 }, at(499_999))).toBe(0);
    expect(price({ input: 1, cachedInput: 1, output: 1 }, at(400_000))).toBe(1); // each alone would be 0
    expect(price({ input: 1, cachedInput: 1, output: 1 }, at(500_000))).toBe(2); // each alone would be 1
  });

  it("stays exact where a product of tokens and rate has passed 2^53", () => {
    const at = { input: nanodollars(75_000_000_001), cachedInput: ZERO, output: ZERO };
    expect(131_072 * at.input).toBeGreaterThan(Number.MAX_SAFE_INTEGER);
    expect(price({ input: 131_072, cachedInput: 0, output: 0 }, at)).toBe(9_830_400_000);
    expect(
      price({ input: 999_999, cachedInput: 0, output: 0 }, { ...at, input: nanodollars(9_007_199_255) }),
    ).toBe(9_007_190_248);
  });

  it("never makes a cached prompt dearer than the same prompt uncached", () => {
    const fair = rates.filter((at) => at.cachedInput <= at.input);
    fc.assert(
      fc.property(
        fc.nat({ max: 200_000 }),
        fc.nat({ max: 200_000 }),
        tokens,
        fair,
        (cached, fresh, output, at) => {
          const withCache = price({ input: fresh, cachedInput: cached, output }, at);
          expect(withCache).toBeLessThanOrEqual(price({ input: fresh + cached, cachedInput: 0, output }, at));
        },
      ),
    );
  });

  it("never falls when there are more tokens", () => {
    fc.assert(
      fc.property(usage, usage, rates, (a, b, at) => {
        const more = {
          input: a.input + b.input,
          cachedInput: a.cachedInput + b.cachedInput,
          output: a.output + b.output,
        };
        expect(price(more, at)).toBeGreaterThanOrEqual(price(a, at));
      }),
    );
  });

  it.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, "7", null, undefined, 7n])(
    "refuses %s as a count of tokens",
    (count) => {
      const at = { input: nanodollars(1), cachedInput: nanodollars(1), output: nanodollars(1) };
      for (const name of ["input", "cachedInput", "output"]) {
        const used = { input: 0, cachedInput: 0, output: 0, [name]: count };
        expect(() => price(used as never, at)).toThrow(RangeError);
      }
    },
  );

  it("refuses a negative rate: no request may earn its caller money", () => {
    const at = { input: nanodollars(-1_000_000), cachedInput: ZERO, output: ZERO };
    expect(() => price({ input: 1, cachedInput: 0, output: 0 }, at)).toThrow(RangeError);
  });

  it("refuses a sum that no account could hold, rather than to misread it", () => {
    const at = { input: nanodollars(Number.MAX_SAFE_INTEGER), cachedInput: ZERO, output: ZERO };
    expect(price({ input: 1_000_000, cachedInput: 0, output: 0 }, at)).toBe(Number.MAX_SAFE_INTEGER);
    expect(() => price({ input: 1_000_001, cachedInput: 0, output: 0 }, at)).toThrow(RangeError);
  });
});

describe("nanodollars", () => {
  it.each([0.1, -0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, -(2 ** 53), 2n ** 53n, 2n ** 63n])(
    "refuses %s",
    (value) => {
      expect(() => nanodollars(value)).toThrow(RangeError);
    },
  );

  it("takes every safe integer, as number and as bigint", () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        expect(nanodollars(value)).toBe(value);
        expect(nanodollars(BigInt(value))).toBe(value);
      }),
    );
  });

  it("adds and subtracts exactly, or throws", () => {
    fc.assert(
      fc.property(money, money, (a, b) => {
        const sum = BigInt(a) + BigInt(b);
        if (sum > BigInt(Number.MAX_SAFE_INTEGER) || sum < BigInt(Number.MIN_SAFE_INTEGER))
          expect(() => plus(a, b)).toThrow(RangeError);
        else {
          expect(BigInt(plus(a, b))).toBe(sum);
          expect(minus(plus(a, b), b)).toBe(a);
        }
        expect(least(a, b)).toBe(Math.min(a, b));
      }),
    );
  });
});

describe("US dollars as text", () => {
  it("go through unchanged, from money to text and back", () => {
    fc.assert(
      fc.property(money, (value) => {
        expect(parseUsd(formatUsd(value))).toBe(value);
      }),
    );
  });

  it.each([
    ["1.5", 1_500_000_000],
    ["0.000000001", 1],
    ["-2", -2_000_000_000],
    [" 7 ", 7_000_000_000],
    ["9007199.254740991", Number.MAX_SAFE_INTEGER],
  ])("%s is %d nanodollars", (text, value) => {
    expect(parseUsd(text)).toBe(value);
  });

  it.each([
    "",
    "-",
    ".5",
    "1.",
    "1.0000000001",
    "1e3",
    "0x10",
    "1,5",
    "١",
    "NaN",
    "Infinity",
    "+1",
    "--1",
    "9007199.254740992",
    "99999999",
  ])("%j is no amount", (text) => {
    expect(parseUsd(text)).toBeUndefined();
  });

  it("never have trailing zeros, an exponent or a lost digit", () => {
    expect(formatUsd(nanodollars(1_500_000_000))).toBe("1.5");
    expect(formatUsd(nanodollars(-1))).toBe("-0.000000001");
    expect(formatUsd(ZERO)).toBe("0");
    expect(formatUsd(2n ** 70n)).toBe("1180591620717.411303424"); // sums over rows pass 2^53
  });
});
