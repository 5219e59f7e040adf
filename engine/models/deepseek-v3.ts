/**
 * DeepSeek-V3 (arXiv 2412.19437): embedding, layers of latent attention and SwiGLU (dense at first, then a mixture
 * of experts), a last norm and the vocabulary's projection. Multi-token prediction layers are not read.
 */
import { strict as assert } from "node:assert";
import type { LatentCache } from "../cache/latent.ts";
import type { DeepseekV3Config } from "../checkpoint/config.ts";
import { type MlaStep, mla } from "../layers/mla.ts";
import { moe } from "../layers/moe.ts";
import type { Batch, Ops } from "../layers/ops.ts";
import { Rope } from "../layers/rope.ts";
import { Scratch } from "../layers/scratch.ts";
import type { DeepseekV3Weights } from "./deepseek-v3-weights.ts";
import { batchOf, type Part, type StepReport, wantedRows } from "./step.ts";

export interface StepLimits {
  /** Tokens of a step, all sequences together. */
  readonly maxTokens: number;
  /** Tokens of a step whose logits are wanted. */
  readonly maxLogits: number;
}

export class DeepseekV3 {
  readonly config: DeepseekV3Config;
  readonly ops: Ops;
  readonly weights: DeepseekV3Weights;
  readonly limits: StepLimits;
  lastStep: StepReport = { tokens: 0, weightBytes: 0 };
  readonly #rope: Rope;
  readonly #scratch: Scratch;
  readonly #cos: Float32Array; // [tokens, rope / 2]
  readonly #sin: Float32Array; // [tokens, rope / 2]
  readonly #chosen: Float32Array; // [logits, hidden]
  readonly #logits: Float32Array; // [logits, vocabulary]

  /** Errors: RangeError where the operations' memory does not suffice. */
  constructor(config: DeepseekV3Config, weights: DeepseekV3Weights, ops: Ops, limits: StepLimits) {
    this.config = config;
    this.ops = ops;
    this.weights = weights;
    this.limits = limits;
    this.#rope = new Rope(config);
    this.#scratch = new Scratch(ops, limits.maxTokens);
    this.#cos = new Float32Array((limits.maxTokens * config.qkRopeDim) / 2);
    this.#sin = new Float32Array((limits.maxTokens * config.qkRopeDim) / 2);
    this.#chosen = ops.tensor(limits.maxLogits * config.hiddenSize);
    this.#logits = ops.tensor(limits.maxLogits * config.vocabSize);
  }

  /** From which position on attending to what comes before costs as much as the rest of a token. */
  get attentionDoublesCostAt(): number {
    const { config, weights } = this;
    const attention = config.layers * config.heads * (2 * config.kvLoraRank + config.qkRopeDim);
    return Math.max(1, Math.round(weights.activeWeights / attention));
  }

  /**
   * Computes each part's tokens, all in one pass, and puts them into their caches, which are of `cache`. Returns each
   * part's logits: [vocabulary] of its last token, [tokens, vocabulary] of all, or an empty array. They are the
   * model's own and hold until the next call.
   */
  forward(parts: readonly Part[], cache: LatentCache): Float32Array[] {
    const { config, ops, weights } = this;
    const { hiddenSize: hidden, rmsNormEpsilon: epsilon } = config;
    for (const part of parts) this.#check(part);
    const batch = batchOf(parts, cache);
    const { tokens } = batch;
    assert(tokens <= this.limits.maxTokens, "a step of more tokens than were planned");

    const residual = this.#scratch.take("model.residual", hidden); // [tokens, hidden]
    const normed = this.#scratch.take("model.normed", hidden); // [tokens, hidden]
    const output = this.#scratch.take("model.output", hidden); // [tokens, hidden]
    const step = this.#begin(batch);
    ops.gather(residual, weights.embedding, Int32Array.from(parts.flatMap((part) => part.tokens)));
    let expertBytes = 0;

    for (const [i, layer] of weights.layers.entries()) {
      ops.rmsNorm(normed, residual, layer.attentionNorm, tokens, epsilon);
      mla(output, normed, layer.attention, step, i, config);
      ops.add(residual, output, tokens * hidden);

      ops.rmsNorm(normed, residual, layer.feedForwardNorm, tokens, epsilon);
      if ("dense" in layer.feedForward) {
        ops.swiglu(output, normed, layer.feedForward.dense, tokens);
      } else {
        const routing = moe(output, normed, layer.feedForward.moe, tokens, config, ops, this.#scratch);
        expertBytes += routing.experts.length * weights.bytesPerExpert;
      }
      ops.add(residual, output, tokens * hidden);
    }

    for (const part of parts) part.cache.append(part.tokens);
    const rows = wantedRows(parts);
    const embeddingBytes = tokens * (weights.embedding.bytes / weights.embedding.rows);
    const headBytes = rows.length > 0 ? weights.head.bytes : 0;
    this.lastStep = {
      tokens,
      weightBytes: weights.bytesOfEveryStep + expertBytes + embeddingBytes + headBytes,
    };
    return this.#project(residual, rows, parts);
  }

  #check({ tokens, cache }: Part): void {
    const { maxPositions, vocabSize } = this.config;
    assert(tokens.length > 0 && cache.length + tokens.length <= maxPositions, "tokens beyond the context");
    for (const token of tokens) {
      assert(token >= 0 && token < vocabSize, `token ${token} is not in the vocabulary`);
    }
    cache.grow(tokens.length);
  }

  #begin(batch: Batch): MlaStep {
    const pairs = this.config.qkRopeDim / 2;
    for (const { firstRow, rows, position } of batch.slices) {
      const [from, to] = [firstRow * pairs, (firstRow + rows) * pairs];
      this.#rope.tables(this.#cos.subarray(from, to), this.#sin.subarray(from, to), position, rows);
    }
    const { ops } = this;
    return { ops, scratch: this.#scratch, batch, rope: this.#rope, cos: this.#cos, sin: this.#sin };
  }

  #project(residual: Float32Array, rows: readonly number[], parts: readonly Part[]): Float32Array[] {
    const { hiddenSize: hidden, vocabSize, rmsNormEpsilon } = this.config;
    assert(rows.length <= this.limits.maxLogits, "more logits than were planned");
    for (const [i, row] of rows.entries()) {
      this.#chosen.set(residual.subarray(row * hidden, (row + 1) * hidden), i * hidden);
    }
    if (rows.length > 0) {
      this.ops.rmsNorm(this.#chosen, this.#chosen, this.weights.norm, rows.length, rmsNormEpsilon);
      this.ops.matmul(this.#logits, this.#chosen, this.weights.head, rows.length);
    }
    let from = 0;
    return parts.map(({ tokens, wanted }) => {
      const count = wanted === "all" ? tokens.length : wanted === "last" ? 1 : 0;
      const logits = this.#logits.subarray(from * vocabSize, (from + count) * vocabSize);
      from += count;
      return logits;
    });
  }
}
