import { expect, it } from "vitest";
import { Opening } from "./opening.ts";
import { Random } from "./random.ts";
import { Sampler } from "./sampler.ts";

const seed = Math.floor(Math.random() * 2 ** 31);

it("takes the largest logit at temperature 0, the first of equals", () => {
  const sampler = new Sampler({ temperature: 0, topP: 1, seed: 1 });
  expect(sampler.sample(Float32Array.of(1, 3, 2, 3))).toBe(1);
});

it("draws the same tokens from the same seed, and others from another", () => {
  const logits = new Float32Array(1000).fill(0);
  const draw = (seed: number) => {
    const sampler = new Sampler({ temperature: 1, topP: 0.9, seed });
    return Array.from({ length: 20 }, () => sampler.sample(logits));
  };
  expect(draw(42)).toEqual(draw(42));
  const seeds = [
    0,
    1,
    -1,
    42,
    2 ** 32,
    2 ** 32 + 1,
    2 ** 52,
    Number.MAX_SAFE_INTEGER,
    Number.MIN_SAFE_INTEGER,
  ];
  expect(new Set(seeds.map((seed) => draw(seed).join())).size).toBe(seeds.length);
});

it(`draws with the probabilities that temperature gives (seed ${seed})`, () => {
  const logits = Float32Array.of(0, 1, 2);
  const sampler = new Sampler({ temperature: 0.5, topP: 1, seed });
  const counts = [0, 0, 0];
  const draws = 20_000;
  for (let i = 0; i < draws; i++) counts[sampler.sample(logits)]++;
  const weights = [0, 2, 4].map(Math.exp);
  const total = weights.reduce((a, b) => a + b);
  for (const [token, weight] of weights.entries())
    expect(counts[token] / draws).toBeCloseTo(weight / total, 1);
});

it(`draws only from the smallest set of likely tokens that reaches top_p (seed ${seed})`, () => {
  // Probabilities 0.5, 0.25, 0.15, 0.1 in another order.
  const logits = Float32Array.from([0.15, 0.5, 0.1, 0.25], Math.log);
  const drawn = (topP: number) => {
    const sampler = new Sampler({ temperature: 1, topP, seed });
    return [...new Set(Array.from({ length: 500 }, () => sampler.sample(logits)))].sort();
  };
  expect(drawn(0)).toEqual([1]);
  expect(drawn(0.4)).toEqual([1]);
  expect(drawn(0.7)).toEqual([1, 3]);
  expect(drawn(0.85)).toEqual([0, 1, 3]);
  expect(drawn(0.95)).toEqual([0, 1, 2, 3]);
});

it(`draws only from the top_k likeliest tokens, of equals the first (seed ${seed})`, () => {
  const drawn = (topK: number, topP: number, probabilities: number[]) => {
    const sampler = new Sampler({ temperature: 1, topP, topK, seed });
    const draw = () => sampler.sample(Float32Array.from(probabilities, Math.log));
    return [...new Set(Array.from({ length: 500 }, draw))].sort();
  };
  const probabilities = [0.15, 0.5, 0.1, 0.25];
  expect(drawn(1, 1, probabilities)).toEqual([1]);
  expect(drawn(2, 1, probabilities)).toEqual([1, 3]);
  expect(drawn(0, 1, probabilities)).toEqual([0, 1, 2, 3]);
  expect(drawn(9, 1, probabilities)).toEqual([0, 1, 2, 3]);
  expect(drawn(3, 1, [0.2, 0.2, 0.2, 0.2, 0.2])).toEqual([0, 1, 2]);
  // Half of all is more than half of the two that are left.
  expect(drawn(2, 0.6, probabilities)).toEqual([1]);
});

it("takes a token's penalties off for what the answer holds, once and each time", () => {
  const drawn = (penalties: object, logits: number[], count: number) => {
    const sampler = new Sampler({ temperature: 0, topP: 1, seed: 1, ...penalties });
    return Array.from({ length: count }, () => sampler.sample(Float32Array.from(logits)));
  };
  expect(drawn({}, [3, 2, 0], 4)).toEqual([0, 0, 0, 0]);
  expect(drawn({ presencePenalty: 1.5 }, [3, 2, 0], 4)).toEqual([0, 1, 0, 0]);
  expect(drawn({ frequencyPenalty: 0.75 }, [3, 2, 0], 6)).toEqual([0, 0, 1, 0, 1, 0]);
  expect(drawn({ presencePenalty: -2 }, [3, 2, 0], 3)).toEqual([0, 0, 0]);
});

it("never draws a banned token, and begins as it must", () => {
  const opening = new Opening([
    [3, 1, 0],
    [3, 2, 0],
  ]);
  const sampler = new Sampler({ temperature: 0, topP: 1, seed: 1, banned: [5], opening });
  const logits = () => Float32Array.of(1, 2, 3, 0, 4, 5);
  expect(Array.from({ length: 5 }, () => sampler.sample(logits()))).toEqual([3, 2, 0, 4, 4]);
});

it("survives the smallest temperature", () => {
  const sampler = new Sampler({ temperature: Number.MIN_VALUE, topP: 1, seed: 1 });
  expect(sampler.sample(Float32Array.of(1, 3, 2))).toBe(1);
});

it("refuses logits that are no numbers", () => {
  const greedy = new Sampler({ temperature: 0, topP: 1, seed: 1 });
  expect(() => greedy.sample(Float32Array.of(Number.NaN, Number.NaN))).toThrow("finite");
  const warm = new Sampler({ temperature: 1, topP: 1, seed: 1 });
  expect(() => warm.sample(Float32Array.of(1, Number.NaN))).toThrow("no number");
});

it(`gives uniform numbers in [0, 1) (seed ${seed})`, () => {
  const random = new Random(seed);
  const buckets = new Array(10).fill(0);
  for (let i = 0; i < 50_000; i++) {
    const value = random.next();
    expect(value >= 0 && value < 1).toBe(true);
    buckets[Math.floor(value * 10)]++;
  }
  for (const count of buckets) expect(Math.abs(count - 5_000)).toBeLessThan(500);
});
