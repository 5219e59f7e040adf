/**
 * A model without a server, for benchmarks and long runs: prefill so many tokens, decode so many steps of so many
 * sequences, and say what it took and what it had to read.
 */
import { strict as assert } from "node:assert";
import { blockTokens } from "../cache/block-pool.ts";
import { LatentCache, type SequenceCache } from "../cache/latent.ts";
import { type DeepseekV3Config, parseConfig } from "../checkpoint/config.ts";
import { RandomWeights } from "../checkpoint/random.ts";
import type { WeightSource } from "../checkpoint/source.ts";
import type { Ops } from "../layers/ops.ts";
import { Random } from "../sampling/random.ts";
import { DeepseekV3 } from "./deepseek-v3.ts";
import { type DeepseekV3Weights, loadDeepseekV3, packWeights } from "./deepseek-v3-weights.ts";
import type { Part } from "./step.ts";

export interface WorkloadSettings {
  /** Taken over: close() closes them. */
  readonly ops: Ops;
  /** Tokens of a step of a prefill. */
  readonly stepTokens: number;
  /** The most sequences at once, and the most tokens of each. */
  readonly sequences: number;
  readonly sequenceTokens: number;
}

export interface Measured {
  readonly tokens: number;
  readonly steps: number;
  readonly milliseconds: number;
  /** Distinct bytes of weights that the steps had to read, summed over them: each matrix once a step. */
  readonly weightBytes: number;
  /** Bytes of the latent cache that a decode had to read beside them, each once a step. */
  readonly cacheBytes: number;
}

export class Workload {
  readonly config: DeepseekV3Config;
  readonly ops: Ops;
  /** Stored bytes of all weights, and how many weights one token is multiplied with. */
  readonly weightBytes: number;
  readonly activeWeights: number;
  readonly cacheBytesPerToken: number;
  readonly #model: DeepseekV3;
  readonly #cache: LatentCache;
  readonly #stepTokens: number;
  readonly #sequenceTokens: number;
  readonly #random = new Random(1);
  #running: { readonly cache: SequenceCache; lastToken: number }[] = [];

  /** Errors: CheckpointError. */
  static async fromFolder(folder: string, settings: WorkloadSettings): Promise<Workload> {
    const { config, weights } = await loadDeepseekV3(folder, settings.ops);
    return new Workload(config, weights, settings);
  }

  /** configJson: what a config.json would hold. source: where its weights come from, random where nothing is said. */
  static async fromConfig(
    configJson: unknown,
    settings: WorkloadSettings,
    source: WeightSource = new RandomWeights(1),
  ): Promise<Workload> {
    const config = parseConfig(configJson, "the configuration");
    return new Workload(config, await packWeights(source, config, settings.ops), settings);
  }

  private constructor(config: DeepseekV3Config, weights: DeepseekV3Weights, settings: WorkloadSettings) {
    const { ops, stepTokens, sequences, sequenceTokens } = settings;
    this.config = config;
    this.ops = ops;
    this.weightBytes = weights.bytes;
    this.activeWeights = weights.activeWeights;
    this.#stepTokens = stepTokens;
    this.#sequenceTokens = sequenceTokens;
    const maxTokens = Math.max(stepTokens, sequences);
    this.#model = new DeepseekV3(config, weights, ops, { maxTokens, maxLogits: sequences });
    const blocks = sequences * Math.ceil(sequenceTokens / blockTokens);
    const width = config.kvLoraRank + config.qkRopeDim;
    this.#cache = new LatentCache(config, blocks * blockTokens * config.layers * width * 4, ops);
    this.cacheBytesPerToken = this.#cache.bytesPerToken;
  }

  /**
   * Ends what ran, then computes a prompt of random tokens for each of so many new sequences, one after another in
   * steps of stepTokens; after each step `onStep` is told how many tokens of the prompt are through.
   */
  prefill(sequences: number, tokens: number, onStep: (tokens: number) => void = () => {}): Measured {
    for (const { cache } of this.#running) cache.close();
    this.#running = [];
    const counter = new Counter();
    for (let i = 0; i < sequences; i++) {
      const cache = this.#cache.open(this.#sequenceTokens);
      assert(cache, "more sequences than were planned");
      const running = { cache, lastToken: 0 };
      while (cache.length < tokens) {
        const count = Math.min(this.#stepTokens, tokens - cache.length);
        const wanted = cache.length + count === tokens ? "last" : "none";
        const chunk = Array.from({ length: count }, () => this.#anyToken());
        const [logits] = this.#step([{ tokens: chunk, cache, wanted }], counter);
        if (wanted === "last") running.lastToken = indexOfLargest(logits);
        onStep(cache.length);
      }
      this.#running.push(running);
    }
    return counter.measured();
  }

  /** The next tokens of all sequences that prefill() began, greedily; the first so many of them where told. */
  decode(steps: number, sequences: number = this.#running.length): Measured {
    const counter = new Counter();
    const running = this.#running.slice(0, sequences);
    assert(running.length === sequences, "fewer sequences were begun");
    for (let step = 0; step < steps; step++) {
      const parts = running.map(
        ({ cache, lastToken }): Part => ({ tokens: [lastToken], cache, wanted: "last" }),
      );
      for (const { cache } of running) counter.cacheBytes += (cache.length + 1) * this.cacheBytesPerToken;
      const logits = this.#step(parts, counter);
      for (const [i, sequence] of running.entries()) sequence.lastToken = indexOfLargest(logits[i]);
    }
    return counter.measured();
  }

  /** Of each sequence, the one that the model said last. */
  get lastTokens(): number[] {
    return this.#running.map(({ lastToken }) => lastToken);
  }

  close(): void {
    this.ops.close();
  }

  #step(parts: readonly Part[], counter: Counter): Float32Array[] {
    const logits = this.#model.forward(parts, this.#cache);
    counter.steps++;
    counter.tokens += this.#model.lastStep.tokens;
    counter.weightBytes += this.#model.lastStep.weightBytes;
    return logits;
  }

  #anyToken(): number {
    return Math.floor(this.#random.next() * this.config.vocabSize);
  }
}

class Counter {
  readonly #startedAtMs = performance.now();
  tokens = 0;
  steps = 0;
  weightBytes = 0;
  cacheBytes = 0;

  measured(): Measured {
    const { tokens, steps, weightBytes, cacheBytes } = this;
    return { tokens, steps, weightBytes, cacheBytes, milliseconds: performance.now() - this.#startedAtMs };
  }
}

function indexOfLargest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}
