import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  checkpoints,
  fixtures,
  golden,
  indexOfLargest,
  largestDifference,
  type Opened,
  openModel,
} from "../../test/fixtures/engine/golden.ts";
import { blockTokens } from "../cache/block-pool.ts";
import { LatentCache, type SequenceCache } from "../cache/latent.ts";
import { Prefix } from "../cache/prefix.ts";
import { parseConfig } from "../checkpoint/config.ts";
import { RandomWeights } from "../checkpoint/random.ts";
import { openOps, variants } from "../kernels/ops.ts";
import type { Ops } from "../layers/ops.ts";
import { PlainOps } from "../layers/plain.ts";
import { Random } from "../sampling/random.ts";
import { DeepseekV3 } from "./deepseek-v3.ts";
import { packWeights } from "./deepseek-v3-weights.ts";

// Expected values were made with Hugging Face transformers by test/fixtures/engine/make.py.
const tolerance = 1e-4;

/** What computes on this machine, each with one thread and with two. */
const computing = [
  { name: "javascript f32", weights: "f32", threads: 1, open: async (): Promise<Ops> => new PlainOps() },
  ...(["f32", "int8"] as const).flatMap((weights) =>
    variants(weights).flatMap((variant) =>
      [1, 2].map((threads) => ({
        name: `wasm ${weights} ${variant}`,
        weights,
        threads,
        open: () => openOps({ weights, variant, threads }),
      })),
    ),
  ),
];

/** Prefill logits of each checkpoint by what computed them first: threads must not change a bit. */
const seen = new Map<string, Float32Array>();

function greedy(
  { run }: Opened,
  prompt: readonly number[],
  sequence: SequenceCache,
  count: number,
): number[] {
  const tokens = [indexOfLargest(run(prompt, sequence))];
  while (tokens.length < count) tokens.push(indexOfLargest(run([tokens.at(-1)!], sequence)));
  return tokens;
}

describe.each(computing)("$name, threads: $threads", ({ name: computer, weights, threads, open }) => {
  // Several threads are given the same bits as one by what comes first; the rest is tested with several.
  const more = threads > 1 || computer === "javascript f32";
  let ops: Ops;
  beforeAll(async () => {
    ops = await open();
  });
  afterAll(() => ops.close());

  it.runIf(weights === "f32").each(checkpoints)(
    "gives transformers' logits and greedy tokens: %s",
    async (name) => {
      const opened = await openModel(name, ops);
      const expected = await golden(name);
      const { vocabSize } = opened.model.config;
      const sequence = opened.cache.open(256)!;
      const prefill = opened.run(expected.prompt, sequence, "all");
      const difference = { prefill: largestDifference(prefill, expected.prefill), decode: 0 };
      const tokens = [indexOfLargest(prefill.subarray(-vocabSize))];
      for (let i = 0; i < expected.greedy.length; i++) {
        const logits = opened.run([tokens[i]], sequence);
        const wanted = expected.decode.subarray(i * vocabSize, (i + 1) * vocabSize);
        difference.decode = Math.max(difference.decode, largestDifference(logits, wanted));
        tokens.push(indexOfLargest(logits));
      }
      const shown = `prefill ${difference.prefill.toExponential(1)}, decode ${difference.decode.toExponential(1)}`;
      console.log(`${ops.variant}, ${name}: largest difference of a logit: ${shown}`);
      expect(difference.prefill).toBeLessThan(tolerance);
      expect(difference.decode).toBeLessThan(tolerance);
      expect(tokens.slice(0, expected.greedy.length)).toEqual(expected.greedy);
    },
  );

  it.each(checkpoints)("gives a token the same bits in any chunks, on any threads: %s", async (name) => {
    const { model, cache, run } = await openModel(name, ops);
    const { prompt } = await golden(name);
    const { vocabSize } = model.config;
    const whole = run(prompt, cache.open(256)!, "all").slice();
    expect(whole).toEqual(seen.get(`${computer} ${name}`) ?? whole);
    seen.set(`${computer} ${name}`, whole);
    for (const chunk of [1, 3, 16, 20]) {
      const sequence = cache.open(256)!;
      for (let from = 0; from < prompt.length; from += chunk) {
        const tokens = prompt.slice(from, from + chunk);
        const wanted = whole.subarray(from * vocabSize, (from + tokens.length) * vocabSize);
        expect(run(tokens, sequence, "all")).toEqual(wanted);
      }
      expect(sequence.length).toBe(prompt.length);
    }
  });

  const seed = Math.floor(Math.random() * 2 ** 31);
  it.runIf(more).each(checkpoints)(
    `gives a token the same bits in any company: %s (seed ${seed})`,
    async (name) => {
      const { model, cache, run } = await openModel(name, ops);
      const random = new Random(seed);
      const below = (limit: number) => Math.floor(random.next() * limit);
      const sequences = Array.from({ length: 8 }, () => {
        const tokens = Array.from({ length: 20 + below(60) }, () => below(model.config.vocabSize));
        return { tokens, alone: run(tokens, cache.open(256)!, "all").slice(), together: cache.open(256)! };
      });
      // Some decode while others are prefilled: each brings from 1 to 30 of its tokens.
      while (sequences.some(({ tokens, together }) => together.length < tokens.length)) {
        const parts = sequences
          .filter(({ tokens, together }) => together.length < tokens.length && below(4) > 0)
          .map(({ tokens, together }) => {
            const from = together.length;
            const count = below(2) ? 1 : 1 + below(Math.min(30, tokens.length - from));
            return { tokens: tokens.slice(from, from + count), cache: together, wanted: "all" as const };
          });
        if (parts.length === 0) continue;
        const from = parts.map((part) => part.cache.length);
        for (const [i, logits] of model.forward(parts, cache).entries()) {
          const { alone } = sequences.find(({ together }) => together === parts[i].cache)!;
          const at = from[i] * model.config.vocabSize;
          expect(logits).toEqual(alone.subarray(at, at + logits.length));
        }
      }
    },
  );

  it.runIf(more).each(checkpoints)(
    "gives the same bits after a prefix hit, of prompt and answer: %s",
    async (name) => {
      const opened = await openModel(name, ops);
      const { prompt } = await golden(name);
      const answer = greedy(opened, prompt, opened.cache.open(256, new Prefix("salt", prompt))!, 64);
      for (const answered of [0, 1, blockTokens - 1, blockTokens, 40]) {
        const next = [...prompt, ...answer.slice(0, answered)];
        const hit = opened.cache.open(256, new Prefix("salt", next))!;
        expect(hit.foundTokens).toBe(blockTokens * Math.floor((next.length - 1) / blockTokens));
        const logits = opened.run(next.slice(hit.foundTokens), hit).slice();
        expect(opened.run(next, opened.cache.open(256)!)).toEqual(logits);
        hit.close();
      }
    },
  );

  it.runIf(threads > 1)("gives a long prompt the same bits in any chunks", async () => {
    const json = JSON.parse(readFileSync(join(fixtures, "grouped/config.json"), "utf8"));
    const config = parseConfig({ ...json, max_position_embeddings: 65_536 }, "a longer context");
    const packed = await packWeights(new RandomWeights(1), config, ops);
    const model = new DeepseekV3(config, packed, ops, { maxTokens: 700, maxLogits: 1 });
    const cache = new LatentCache(config, 16 * 1024 * 1024, ops);
    const prompt = Array.from({ length: 3_000 }, (_, i) => (i * i) % config.vocabSize);
    const last = [700, 171].map((chunk) => {
      const sequence = cache.open(prompt.length)!;
      let logits = new Float32Array(0);
      for (let from = 0; from < prompt.length; from += chunk) {
        const part = { tokens: prompt.slice(from, from + chunk), cache: sequence, wanted: "last" } as const;
        logits = model.forward([part], cache)[0].slice();
      }
      return logits;
    });
    expect(last[0]).toEqual(last[1]);
  });

  it.runIf(more)("computes a sequence the same in cache blocks that another left behind", async () => {
    const { cache, run } = await openModel("grouped", ops);
    const { prompt } = await golden("grouped");
    const first = cache.open(256)!;
    const alone = run(prompt, first).slice();
    run(prompt.toReversed(), first);
    first.close();
    expect(run(prompt, cache.open(256)!)).toEqual(alone);
  });

  it.runIf(weights === "f32")("answers three questions with transformers' greedy tokens", async () => {
    const opened = await openModel(new URL("../model", import.meta.url).pathname, ops, 64);
    const answers: { prompt: number[]; answer: number[] }[] = JSON.parse(
      readFileSync(join(fixtures, "probe.json"), "utf8"),
    );
    expect(answers).toHaveLength(3);
    for (const { prompt, answer } of answers) {
      expect(greedy(opened, prompt, opened.cache.open(256)!, answer.length)).toEqual(answer);
    }
  });
});

describe("a step", () => {
  it("says how many bytes of weights it had to read, each expert once", async () => {
    const { model, cache } = await openModel("even", new PlainOps());
    const { weights, config } = model;
    const parts = (count: number) =>
      Array.from({ length: count }, () => ({ tokens: [7], cache: cache.open(16)!, wanted: "last" as const }));
    model.forward(parts(1), cache);
    const one = model.lastStep;
    // Of 3 layers one has experts, of which a token goes to 2.
    const rest = weights.bytesOfEveryStep + weights.head.bytes;
    expect(one).toEqual({
      tokens: 1,
      weightBytes: rest + 2 * weights.bytesPerExpert + config.hiddenSize * 4,
    });
    // The same token in the same place goes to the same experts.
    model.forward(parts(8), cache);
    expect(model.lastStep.weightBytes).toBe(one.weightBytes + 7 * config.hiddenSize * 4);
    const others = weights.bytes - weights.embedding.bytes - weights.head.bytes - 8 * weights.bytesPerExpert;
    expect(weights.bytesOfEveryStep).toBe(others);
  });

  it("of many tokens without logits reads all but the head", async () => {
    const { model, cache } = await openModel("even", new PlainOps());
    const tokens = Array.from({ length: 100 }, (_, i) => i);
    model.forward([{ tokens, cache: cache.open(100)!, wanted: "none" }], cache);
    const { weights, config } = model;
    const rest = weights.bytesOfEveryStep + 100 * config.hiddenSize * 4;
    const experts = (model.lastStep.weightBytes - rest) / weights.bytesPerExpert;
    // 100 tokens go to most of the 8.
    expect([5, 6, 7, 8]).toContain(experts);
  });
});

describe("the cache", () => {
  it("holds kv_lora_rank + qk_rope_head_dim values a token a layer, and no more", async () => {
    const ops = new PlainOps();
    const { model, run } = await openModel("grouped", ops);
    const { config } = model;
    const before = ops.allocatedBytes;
    const tokens = 64 * blockTokens;
    const bytes = tokens * config.layers * (config.kvLoraRank + config.qkRopeDim) * 4;
    const cache = new LatentCache(config, bytes, ops);
    expect(ops.allocatedBytes - before).toBe(bytes);
    expect(cache.maxTokens).toBe(tokens);
    const numbers = Array.from({ length: 4 * blockTokens }, (_, i) => i);
    model.forward([{ tokens: numbers, cache: cache.open(256)!, wanted: "none" }], cache);
    expect(cache.allocatedBytes).toBe((4 * bytes) / 64);
    // What attention reads is there and nowhere else.
    run(numbers, cache.open(256)!, "none");
  });

  it("is 98.2 % smaller than plain multi-head attention's at DeepSeek-V3's shape", () => {
    const [heads, headDim] = [128, 128];
    const shape = { layers: 61, kvLoraRank: 512, qkRopeDim: 64 };
    const { bytesPerToken } = new LatentCache(shape, 0, new PlainOps());
    const plainBytes = shape.layers * heads * headDim * 2 * Float32Array.BYTES_PER_ELEMENT;
    const saved = (100 * (1 - bytesPerToken / plainBytes)).toFixed(1);
    const values = `${bytesPerToken / 4} values a token, plain attention ${plainBytes / 4}`;
    console.log(`DeepSeek-V3's cache: ${values}: ${saved} % less`);
    expect(saved).toBe("98.2");
  });
});
