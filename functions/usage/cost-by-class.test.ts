import fc from "fast-check";
import { expect, it } from "vitest";
import { random } from "../../test/money/random.ts";
import { type Nanodollars, price } from "../money.ts";
import { costByClass } from "./cost-by-class.ts";

it("adds up to what was charged, whatever the tokens, the rates and the hold", () => {
  const tokens = fc.nat({ max: 1_000_000 });
  const rate = fc.nat({ max: 75_000_000_000 }).map((value) => value as Nanodollars);
  fc.assert(
    fc.property(
      tokens,
      tokens,
      tokens,
      rate,
      rate,
      rate,
      fc.option(fc.nat()),
      (input, cached, output, a, b, c, held) => {
        const rates = { input: a, cachedInput: b, output: c };
        const cost = price({ input, cachedInput: cached, output }, rates);
        const charged = BigInt(held ?? cost);
        const usage = { prompt_tokens: input + cached, cached_tokens: cached, completion_tokens: output };
        const parts = costByClass(usage, rates, charged).map((part) => BigInt(part.cost_nanodollars));
        expect(parts.reduce((sum, part) => sum + part, 0n)).toBe(charged);
        for (const part of parts) expect(part >= 0n).toBe(true);
      },
    ),
    random("cost by class", 300),
  );
});
