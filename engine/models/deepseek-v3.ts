/**
 * DeepSeek-V3 (arXiv 2412.19437): embedding, layers of latent attention and SwiGLU (dense at first, then a mixture
 * of experts), a last norm and the vocabulary's projection. Multi-token prediction layers are not read.
 */
import { strict as assert } from "node:assert";
import type { SequenceCache } from "../cache/latent.ts";
import { type DeepseekV3Config, readConfig } from "../checkpoint/config.ts";
import { CheckpointError } from "../checkpoint/error.ts";
import { Weights } from "../checkpoint/weights.ts";
import { linear } from "../layers/linear.ts";
import { type MlaWeights, mla } from "../layers/mla.ts";
import { type MoeWeights, moe } from "../layers/moe.ts";
import { rmsNorm } from "../layers/rms-norm.ts";
import { Rope } from "../layers/rope.ts";
import { Scratch } from "../layers/scratch.ts";
import { type SwigluWeights, swiglu } from "../layers/swiglu.ts";

interface LayerWeights {
  readonly attentionNorm: Float32Array; // [hidden]
  readonly attention: MlaWeights;
  readonly feedForwardNorm: Float32Array; // [hidden]
  readonly feedForward: { readonly dense: SwigluWeights } | { readonly moe: MoeWeights };
}

interface ModelWeights {
  readonly embedding: Float32Array; // [vocabulary, hidden]
  readonly layers: readonly LayerWeights[];
  readonly norm: Float32Array; // [hidden]
  readonly head: Float32Array; // [vocabulary, hidden]
}

export class DeepseekV3 {
  readonly config: DeepseekV3Config;
  readonly #weights: ModelWeights;
  readonly #rope: Rope;
  readonly #scratch = new Scratch();

  constructor(config: DeepseekV3Config, weights: ModelWeights) {
    this.config = config;
    this.#weights = weights;
    this.#rope = new Rope(config);
  }

  /** Reads a checkpoint folder. `progress` is told bytes read and bytes in all. Errors: CheckpointError. */
  static async load(
    folder: string,
    progress: (read: number, total: number) => void = () => {},
  ): Promise<DeepseekV3> {
    const config = await readConfig(folder);
    const weights = await Weights.open(folder, config.blockShape);
    try {
      weights.onRead = () => progress(weights.readBytes, weights.totalBytes);
      return new DeepseekV3(config, await readModel(weights, config, folder));
    } finally {
      await weights.close();
    }
  }

  /**
   * Computes the tokens that follow those in the cache, and puts them into it. Returns logits of the last token
   * [vocabulary], or of all [tokens, vocabulary], or an empty array where nobody asks (a chunk of a prefill that
   * is not the last). The array is the model's own and holds until the next call.
   */
  forward(tokens: readonly number[], cache: SequenceCache, wanted: "last" | "all" | "none"): Float32Array {
    const { config } = this;
    const { hiddenSize: hidden } = config;
    const scratch = this.#scratch;
    const count = tokens.length;
    assert(count > 0 && cache.length + count <= config.maxPositions, "tokens beyond the model's context");
    cache.grow(count);

    const residual = scratch.take("model.residual", count * hidden); // [tokens, hidden]
    const normed = scratch.take("model.normed", count * hidden); // [tokens, hidden]
    const output = scratch.take("model.output", count * hidden); // [tokens, hidden]
    const cos = scratch.take("model.cos", (count * config.qkRopeDim) / 2); // [tokens, rope / 2]
    const sin = scratch.take("model.sin", (count * config.qkRopeDim) / 2); // [tokens, rope / 2]
    this.#rope.tables(cos, sin, cache.length, count);
    this.#embed(residual, tokens);

    for (let layer = 0; layer < config.layers; layer++) {
      const weights = this.#weights.layers[layer];
      rmsNorm(normed, residual, weights.attentionNorm, count, hidden, config.rmsNormEpsilon);
      const step = { tokens: count, layer, cache, rope: this.#rope, cos, sin };
      mla(output, normed, weights.attention, step, config, scratch);
      addTo(residual, output, count * hidden);

      rmsNorm(normed, residual, weights.feedForwardNorm, count, hidden, config.rmsNormEpsilon);
      if ("dense" in weights.feedForward) {
        swiglu(output, normed, weights.feedForward.dense, count, hidden, config.intermediateSize, scratch);
      } else {
        moe(output, normed, weights.feedForward.moe, count, config, scratch);
      }
      addTo(residual, output, count * hidden);
    }
    cache.append(tokens);
    return this.#logits(residual, count, wanted);
  }

  #embed(out: Float32Array, tokens: readonly number[]): void {
    const { hiddenSize: hidden, vocabSize } = this.config;
    for (let i = 0; i < tokens.length; i++) {
      const token = tokens[i];
      assert(token >= 0 && token < vocabSize, `token ${token} is not in the vocabulary`);
      out.set(this.#weights.embedding.subarray(token * hidden, (token + 1) * hidden), i * hidden);
    }
  }

  #logits(residual: Float32Array, count: number, wanted: "last" | "all" | "none"): Float32Array {
    const { hiddenSize: hidden, vocabSize, rmsNormEpsilon } = this.config;
    if (wanted === "none") return new Float32Array(0);
    const rows = wanted === "all" ? count : 1;
    const from = (count - rows) * hidden;
    const normed = this.#scratch.take("model.normed", rows * hidden);
    rmsNorm(normed, residual.subarray(from), this.#weights.norm, rows, hidden, rmsNormEpsilon);
    const logits = this.#scratch.take(`model.logits.${wanted}`, rows * vocabSize);
    linear(logits, normed, this.#weights.head, rows, hidden, vocabSize);
    return logits.subarray(0, rows * vocabSize);
  }
}

function addTo(out: Float32Array, x: Float32Array, length: number): void {
  for (let i = 0; i < length; i++) out[i] += x[i];
}

async function readModel(weights: Weights, config: DeepseekV3Config, folder: string): Promise<ModelWeights> {
  const { hiddenSize: hidden, vocabSize } = config;
  const embedding = await weights.read("model.embed_tokens.weight", [vocabSize, hidden]);
  const layers: LayerWeights[] = [];
  for (let layer = 0; layer < config.layers; layer++) {
    layers.push(await readLayer(weights, config, layer));
  }
  const norm = await weights.read("model.norm.weight", [hidden]);
  const head = config.tiedEmbeddings ? embedding : await weights.read("lm_head.weight", [vocabSize, hidden]);
  for (const token of config.endTokens) {
    if (token >= vocabSize)
      throw new CheckpointError("corrupt", folder, `eos_token_id ${token} is not in the vocabulary`);
  }
  return { embedding, layers, norm, head };
}

async function readLayer(weights: Weights, config: DeepseekV3Config, layer: number): Promise<LayerWeights> {
  const { hiddenSize: hidden } = config;
  const prefix = `model.layers.${layer}`;
  return {
    attentionNorm: await weights.read(`${prefix}.input_layernorm.weight`, [hidden]),
    attention: await readAttention(weights, config, `${prefix}.self_attn`),
    feedForwardNorm: await weights.read(`${prefix}.post_attention_layernorm.weight`, [hidden]),
    feedForward:
      layer < config.denseLayers
        ? { dense: await readSwiglu(weights, `${prefix}.mlp`, hidden, config.intermediateSize) }
        : { moe: await readMoe(weights, config, `${prefix}.mlp`) },
  };
}

async function readAttention(
  weights: Weights,
  config: DeepseekV3Config,
  prefix: string,
): Promise<MlaWeights> {
  const { hiddenSize: hidden, heads, qLoraRank, kvLoraRank, qkNopeDim, qkRopeDim, vDim } = config;
  const queryRows = heads * (qkNopeDim + qkRopeDim);
  const query =
    qLoraRank === undefined
      ? { full: await weights.read(`${prefix}.q_proj.weight`, [queryRows, hidden]) }
      : {
          down: await weights.read(`${prefix}.q_a_proj.weight`, [qLoraRank, hidden]),
          norm: await weights.read(`${prefix}.q_a_layernorm.weight`, [qLoraRank]),
          up: await weights.read(`${prefix}.q_b_proj.weight`, [queryRows, qLoraRank]),
        };
  return {
    query,
    kvDown: await weights.read(`${prefix}.kv_a_proj_with_mqa.weight`, [kvLoraRank + qkRopeDim, hidden]),
    kvNorm: await weights.read(`${prefix}.kv_a_layernorm.weight`, [kvLoraRank]),
    kvUp: await weights.read(`${prefix}.kv_b_proj.weight`, [heads * (qkNopeDim + vDim), kvLoraRank]),
    out: await weights.read(`${prefix}.o_proj.weight`, [hidden, heads * vDim]),
  };
}

async function readMoe(weights: Weights, config: DeepseekV3Config, prefix: string): Promise<MoeWeights> {
  const { hiddenSize: hidden, moeIntermediateSize: intermediate, routedExperts, sharedExperts } = config;
  const gate = await weights.read(`${prefix}.gate.weight`, [routedExperts, hidden]);
  const correctionBias = await weights.read(`${prefix}.gate.e_score_correction_bias`, [routedExperts]);
  const experts: SwigluWeights[] = [];
  for (let expert = 0; expert < routedExperts; expert++) {
    experts.push(await readSwiglu(weights, `${prefix}.experts.${expert}`, hidden, intermediate));
  }
  const shared =
    sharedExperts > 0
      ? await readSwiglu(weights, `${prefix}.shared_experts`, hidden, sharedExperts * intermediate)
      : undefined;
  return { router: { gate, correctionBias }, experts, shared };
}

async function readSwiglu(
  weights: Weights,
  prefix: string,
  hidden: number,
  intermediate: number,
): Promise<SwigluWeights> {
  return {
    gate: await weights.read(`${prefix}.gate_proj.weight`, [intermediate, hidden]),
    up: await weights.read(`${prefix}.up_proj.weight`, [intermediate, hidden]),
    down: await weights.read(`${prefix}.down_proj.weight`, [hidden, intermediate]),
  };
}
