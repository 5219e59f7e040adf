import { expect, it } from "vitest";
import { Random } from "../sampling/random.ts";
import { Sampler } from "../sampling/sampler.ts";
import { planStep } from "./plan.ts";
import { Sequence } from "./sequence.ts";

function sequenceOf(promptTokens: number, prefilledTokens: number): Sequence {
  const sequence = new Sequence({
    prompt: new Array(promptTokens).fill(0),
    maxTokens: 1,
    endTokens: new Set(),
    sampler: new Sampler({ temperature: 0, topP: 1, seed: 0 }),
    cacheSalt: "",
    listener: { onStart: () => {}, onToken: () => "continue", onEnd: () => {} },
  });
  sequence.state = "running";
  sequence.prefilledTokens = prefilledTokens;
  return sequence;
}

const seed = Math.floor(Math.random() * 2 ** 31);
it(`keeps to its budget, and moves everyone who decodes and the oldest prompt (seed ${seed})`, () => {
  const random = new Random(seed);
  const below = (limit: number) => Math.floor(random.next() * limit);
  for (let i = 0; i < 2_000; i++) {
    const running = Array.from({ length: 1 + below(12) }, () => {
      const prompt = 1 + below(below(2) ? 40 : 5_000);
      return sequenceOf(prompt, below(3) === 0 ? prompt : below(prompt));
    });
    const budget = 16 + below(500);
    const planned = planStep(running, budget, 1 + below(2_000));
    const tokensOf = (sequence: Sequence) => planned.find((one) => one.sequence === sequence)?.tokens ?? 0;

    const prompts = running.filter((sequence) => !sequence.isPrefilled);
    for (const sequence of running) {
      if (sequence.isPrefilled) expect(tokensOf(sequence)).toBe(1);
      else expect(tokensOf(sequence)).toBeLessThanOrEqual(sequence.unfilledTokens);
    }
    if (prompts.length > 0)
      expect(tokensOf(prompts[0])).toBeGreaterThanOrEqual(Math.min(16, prompts[0].unfilledTokens));
    expect(prompts.reduce((sum, sequence) => sum + tokensOf(sequence), 0)).toBeLessThanOrEqual(budget);
    // In the order of arrival, each once.
    const order = planned.map(({ sequence }) => running.indexOf(sequence));
    expect(order).toEqual([...new Set(order)].toSorted((a, b) => a - b));
  }
});
