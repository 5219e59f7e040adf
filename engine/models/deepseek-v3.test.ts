import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { blockTokens } from "../cache/block-pool.ts";
import { LatentCache, type SequenceCache } from "../cache/latent.ts";
import { Prefix } from "../cache/prefix.ts";
import { f32FromBytes } from "../checkpoint/dequantise.ts";
import { SafetensorsFile } from "../checkpoint/safetensors.ts";
import { DeepseekV3 } from "./deepseek-v3.ts";

// Expected values were made with Hugging Face transformers by test/fixtures/engine/make.py.
const fixtures = new URL("../../test/fixtures/engine/", import.meta.url).pathname;
const tolerance = 1e-4;

interface Golden {
  readonly prompt: number[];
  readonly greedy: number[];
  readonly prefill: Float32Array; // [prompt, vocabulary]
  readonly decode: Float32Array; // [greedy, vocabulary]
}

async function golden(name: string): Promise<Golden> {
  const { prompt, greedy } = JSON.parse(readFileSync(join(fixtures, name, "tokens.json"), "utf8"));
  const file = await SafetensorsFile.open(join(fixtures, name, "logits.safetensors"));
  const read = async (tensor: string) => f32FromBytes(await file.bytes(file.tensors.get(tensor)!));
  const result = { prompt, greedy, prefill: await read("prefill"), decode: await read("decode") };
  await file.close();
  return result;
}

function openCache(model: DeepseekV3): SequenceCache {
  return new LatentCache(model.config, 64 * 1024 * 1024).open(256)!;
}

function largestDifference(actual: Float32Array, expected: Float32Array): number {
  expect(actual.length).toBe(expected.length);
  return actual.reduce((largest, value, i) => Math.max(largest, Math.abs(value - expected[i])), 0);
}

function indexOfLargest(values: Float32Array): number {
  return values.indexOf(Math.max(...values));
}

describe.each(["grouped", "plain"])("the %s checkpoint", (name) => {
  it("gives transformers' logits for a prompt", async () => {
    const model = await DeepseekV3.load(join(fixtures, name));
    const expected = await golden(name);
    const logits = model.forward(expected.prompt, openCache(model), "all");
    const difference = largestDifference(logits, expected.prefill);
    console.log(`${name}: largest difference of a prefill logit ${difference.toExponential(1)}`);
    expect(difference).toBeLessThan(tolerance);
  });

  it("gives transformers' logits for each token through the cache, and the same 64 greedy tokens", async () => {
    const model = await DeepseekV3.load(join(fixtures, name));
    const { vocabSize } = model.config;
    const expected = await golden(name);
    const cache = openCache(model);
    const tokens = [indexOfLargest(model.forward(expected.prompt, cache, "last"))];
    let difference = 0;
    for (let i = 0; i < expected.greedy.length; i++) {
      const logits = model.forward([tokens[i]], cache, "last");
      const wanted = expected.decode.subarray(i * vocabSize, (i + 1) * vocabSize);
      difference = Math.max(difference, largestDifference(logits, wanted));
      tokens.push(indexOfLargest(logits));
    }
    console.log(`${name}: largest difference of a decode logit ${difference.toExponential(1)}`);
    expect(difference).toBeLessThan(tolerance);
    expect(tokens.slice(0, expected.greedy.length)).toEqual(expected.greedy);
  });

  it.each([1, 3, 16, 20])(
    "gives the same logits whether the prompt comes whole or in chunks of %i",
    async (chunk) => {
      const model = await DeepseekV3.load(join(fixtures, name));
      const { prompt, prefill } = await golden(name);
      const { vocabSize } = model.config;
      const cache = openCache(model);
      for (let from = 0; from < prompt.length; from += chunk) {
        const tokens = prompt.slice(from, from + chunk);
        const logits = model.forward(tokens, cache, "all");
        const wanted = prefill.subarray(from * vocabSize, (from + tokens.length) * vocabSize);
        expect(largestDifference(logits, wanted)).toBeLessThan(tolerance);
      }
      expect(cache.length).toBe(prompt.length);
    },
  );

  it("computes a sequence the same in cache blocks that another left behind", async () => {
    const model = await DeepseekV3.load(join(fixtures, name));
    const { prompt } = await golden(name);
    const cache = new LatentCache(model.config, 64 * 1024 * 1024);
    const first = cache.open(256)!;
    const alone = model.forward(prompt, first, "last").slice();
    model.forward(prompt.toReversed(), first, "last");
    first.close();
    const second = cache.open(256)!;
    expect(model.forward(prompt, second, "last")).toEqual(alone);
  });
});

describe.each(["grouped", "plain"])("the %s checkpoint after a prefix hit", (name) => {
  it.each([0, 1, blockTokens - 1, blockTokens])(
    "gives the same greedy tokens, with %i tokens of the answer in the next prompt",
    async (answered) => {
      const model = await DeepseekV3.load(join(fixtures, name));
      const { prompt, greedy } = await golden(name);
      const cache = new LatentCache(model.config, 64 * 1024 * 1024);
      const run = (tokens: number[], count: number) => {
        const sequence = cache.open(256, new Prefix("salt", tokens))!;
        const rest = tokens.slice(sequence.foundTokens);
        const sampled = [indexOfLargest(model.forward(rest, sequence, "last"))];
        while (sampled.length < count)
          sampled.push(indexOfLargest(model.forward([sampled.at(-1)!], sequence, "last")));
        sequence.close();
        return { found: sequence.foundTokens, sampled };
      };
      expect(run(prompt, 32)).toEqual({ found: 0, sampled: greedy.slice(0, 32) });
      const next = [...prompt, ...greedy.slice(0, answered)];
      expect(run(next, 32)).toEqual({
        found: blockTokens * Math.floor((next.length - 1) / blockTokens),
        sampled: greedy.slice(answered, answered + 32),
      });
    },
  );
});

describe("the cache", () => {
  it("holds kv_lora_rank + qk_rope_head_dim values a token a layer, and no more", async () => {
    const model = await DeepseekV3.load(join(fixtures, "grouped"));
    const { config } = model;
    const cache = new LatentCache(config, 64 * 1024 * 1024);
    const sequence = cache.open(256)!;
    model.forward(
      Array.from({ length: 4 * blockTokens }, (_, i) => i),
      sequence,
      "none",
    );
    const values = 4 * blockTokens * config.layers * (config.kvLoraRank + config.qkRopeDim);
    expect(cache.allocatedBytes).toBe(values * Float32Array.BYTES_PER_ELEMENT);
    expect(sequence.blocks.reduce((sum, block) => sum + block.byteLength, 0)).toBe(cache.allocatedBytes);
  });

  it("is 98.2 % smaller than plain multi-head attention's at DeepSeek-V3's shape", () => {
    const [heads, headDim] = [128, 128];
    const cache = new LatentCache({ layers: 61, kvLoraRank: 512, qkRopeDim: 64 }, 0);
    const plainBytes = 61 * heads * headDim * 2 * Float32Array.BYTES_PER_ELEMENT;
    expect((100 * (1 - cache.bytesPerToken / plainBytes)).toFixed(1)).toBe("98.2");
  });
});

describe("the model in engine/model", () => {
  it("answers three questions with transformers' greedy tokens", async () => {
    const model = await DeepseekV3.load(new URL("../model", import.meta.url).pathname);
    const answers: { prompt: number[]; answer: number[] }[] = JSON.parse(
      readFileSync(join(fixtures, "probe.json"), "utf8"),
    );
    expect(answers).toHaveLength(3);
    for (const { prompt, answer } of answers) {
      const cache = openCache(model);
      const tokens = [indexOfLargest(model.forward(prompt, cache, "last"))];
      while (tokens.length < answer.length) {
        tokens.push(indexOfLargest(model.forward([tokens.at(-1)!], cache, "last")));
      }
      expect(tokens).toEqual(answer);
      cache.close();
    }
  });
});
