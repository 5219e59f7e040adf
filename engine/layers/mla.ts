/**
 * Multi-head latent attention (DeepSeek-V3 report, arXiv 2412.19437, section 2.1.1, eq. 1 to 11; first in DeepSeek-V2,
 * arXiv 2405.04434). Keys and values of all heads come from one latent a token; only it and one rotated key are
 * cached. Two ways to the same result:
 *
 * - absorbed (DeepSeek-V2, section 2.1.2): the key's up-projection goes into the query and the value's is applied to
 *   the weighted latent, so nothing is expanded for the tokens of the past. Cheaper for few queries: decode.
 * - expanded: keys and values of the past are made from the latents, once for all queries of the step. Cheaper for
 *   many: prefill. Done a cache block at a time with a running softmax, so that it needs no memory by length.
 */
import { blockTokens } from "../cache/block-pool.ts";
import type { SequenceCache } from "../cache/latent.ts";
import { dot, linear } from "./linear.ts";
import { rmsNorm } from "./rms-norm.ts";
import type { Rope } from "./rope.ts";
import type { Scratch } from "./scratch.ts";

/** The norms inside attention have this epsilon in DeepSeek's and transformers' code, whatever rms_norm_eps says. */
const latentNormEpsilon = 1e-6;

export interface MlaShape {
  readonly hiddenSize: number;
  readonly heads: number;
  readonly qLoraRank: number | undefined;
  readonly kvLoraRank: number;
  readonly qkNopeDim: number;
  readonly qkRopeDim: number;
  readonly vDim: number;
}

export interface MlaWeights {
  readonly query:
    | { readonly full: Float32Array } // [heads * (nope + rope), hidden]
    | {
        readonly down: Float32Array; // [qLoraRank, hidden]
        readonly norm: Float32Array; // [qLoraRank]
        readonly up: Float32Array; // [heads * (nope + rope), qLoraRank]
      };
  readonly kvDown: Float32Array; // [kvLoraRank + rope, hidden]
  readonly kvNorm: Float32Array; // [kvLoraRank]
  /** For each head nope rows for its keys, then vDim rows for its values. */
  readonly kvUp: Float32Array; // [heads * (nope + vDim), kvLoraRank]
  readonly out: Float32Array; // [hidden, heads * vDim]
}

/** One step's tokens: those after the `cache.length` ones whose values are cached. */
export interface MlaStep {
  readonly tokens: number;
  readonly layer: number;
  readonly cache: SequenceCache;
  readonly rope: Rope;
  readonly cos: Float32Array; // [tokens, rope / 2]
  readonly sin: Float32Array; // [tokens, rope / 2]
}

/** x and out: [tokens, hidden]. Writes the step's latents and rope keys to the cache, which has room for them. */
export function mla(
  out: Float32Array,
  x: Float32Array,
  weights: MlaWeights,
  step: MlaStep,
  shape: MlaShape,
  scratch: Scratch,
): void {
  const { tokens } = step;
  const query = projectQuery(x, weights, step, shape, scratch);
  cacheLatents(x, weights, step, shape, scratch);
  const mixed = scratch.take("mla.mixed", tokens * shape.heads * shape.vDim); // [tokens, heads, vDim]
  if (tokens < absorbedBelow(shape)) attendAbsorbed(mixed, query, weights.kvUp, step, shape, scratch);
  else attendExpanded(mixed, query, weights.kvUp, step, shape, scratch);
  linear(out, mixed, weights.out, tokens, shape.heads * shape.vDim, shape.hiddenSize);
}

/**
 * The number of queries from which expansion is cheaper: it costs (nope + vDim) * kvLoraRank products a head and
 * cached token once, and saves 2 * kvLoraRank - nope - vDim of them for each query.
 */
function absorbedBelow(shape: MlaShape): number {
  const saved = 2 * shape.kvLoraRank - shape.qkNopeDim - shape.vDim;
  return saved <= 0 ? Number.POSITIVE_INFINITY : ((shape.qkNopeDim + shape.vDim) * shape.kvLoraRank) / saved;
}

/** Returns [tokens, heads, nope + rope], the rope part rotated. */
function projectQuery(
  x: Float32Array,
  { query: weights }: MlaWeights,
  step: MlaStep,
  shape: MlaShape,
  scratch: Scratch,
): Float32Array {
  const { tokens } = step;
  const headDim = shape.qkNopeDim + shape.qkRopeDim;
  const query = scratch.take("mla.query", tokens * shape.heads * headDim);
  if ("full" in weights) {
    linear(query, x, weights.full, tokens, shape.hiddenSize, shape.heads * headDim);
  } else {
    const rank = weights.norm.length;
    const low = scratch.take("mla.queryLow", tokens * rank);
    linear(low, x, weights.down, tokens, shape.hiddenSize, rank);
    rmsNorm(low, low, weights.norm, tokens, rank, latentNormEpsilon);
    linear(query, low, weights.up, tokens, rank, shape.heads * headDim);
  }
  for (let token = 0; token < tokens; token++) {
    for (let head = 0; head < shape.heads; head++) {
      const from = (token * shape.heads + head) * headDim + shape.qkNopeDim;
      step.rope.rotate(query, from, step.cos, step.sin, token);
    }
  }
  return query;
}

function cacheLatents(
  x: Float32Array,
  weights: MlaWeights,
  step: MlaStep,
  shape: MlaShape,
  scratch: Scratch,
): void {
  const { tokens, cache } = step;
  const width = shape.kvLoraRank + shape.qkRopeDim;
  const latents = scratch.take("mla.kvDown", tokens * width); // [tokens, kvLoraRank + rope]
  linear(latents, x, weights.kvDown, tokens, shape.hiddenSize, width);
  rmsNorm(latents, latents, weights.kvNorm, tokens, shape.kvLoraRank, latentNormEpsilon, width);
  const layerOffset = cache.layerOffset(step.layer);
  for (let token = 0; token < tokens; token++) {
    step.rope.rotate(latents, token * width + shape.kvLoraRank, step.cos, step.sin, token);
    const position = cache.length + token;
    const block = cache.blocks[Math.floor(position / blockTokens)];
    const to = layerOffset + (position % blockTokens) * width;
    block.set(latents.subarray(token * width, (token + 1) * width), to);
  }
}

function attendAbsorbed(
  mixed: Float32Array,
  query: Float32Array,
  kvUp: Float32Array,
  step: MlaStep,
  shape: MlaShape,
  scratch: Scratch,
): void {
  const { cache, tokens } = step;
  const { heads, kvLoraRank: rank, qkNopeDim: nope, qkRopeDim: rope, vDim } = shape;
  const width = rank + rope;
  const rows = tokens * heads;
  const layerOffset = cache.layerOffset(step.layer);
  const absorbed = absorbQueries(query, kvUp, rows, shape, scratch); // [tokens, heads, kvLoraRank + rope]
  const scores = scratch.take("mla.scores", rows * blockTokens); // [tokens, heads, positions of a block]
  const weighted = scratch.take("mla.weighted", rows * rank); // [tokens, heads, kvLoraRank]
  const softmax = new RunningSoftmax(weighted, rows, rank, step.rope.softmaxScale, scratch);

  const end = cache.length + tokens;
  for (let first = 0; first < end; first += blockTokens) {
    const block = cache.blocks[first / blockTokens];
    const inBlock = Math.min(blockTokens, end - first);
    const keys = block.subarray(layerOffset, layerOffset + inBlock * width); // [positions, kvLoraRank + rope]
    linear(scores, absorbed, keys, rows, width, inBlock);
    for (let token = Math.max(0, first - cache.length); token < tokens; token++) {
      const visible = Math.min(inBlock, cache.length + token + 1 - first);
      for (let row = token * heads; row < (token + 1) * heads; row++) {
        softmax.add(row, scores, row * inBlock, visible, block, layerOffset, width);
      }
    }
  }
  softmax.finish();

  for (let row = 0; row < rows; row++) {
    const valueUp = ((row % heads) * (nope + vDim) + nope) * rank;
    for (let i = 0; i < vDim; i++) {
      mixed[row * vDim + i] = dot(weighted, row * rank, kvUp, valueUp + i * rank, rank);
    }
  }
}

/** The queries in the space of what is cached: up-projected keys' transpose on the nope part, the rope part as it is. */
function absorbQueries(
  query: Float32Array,
  kvUp: Float32Array,
  rows: number,
  shape: MlaShape,
  scratch: Scratch,
): Float32Array {
  const { heads, kvLoraRank: rank, qkNopeDim: nope, qkRopeDim: rope, vDim } = shape;
  const width = rank + rope;
  const absorbed = scratch.take("mla.absorbed", rows * width);
  absorbed.fill(0, 0, rows * width);
  for (let row = 0; row < rows; row++) {
    const from = row * (nope + rope);
    const keyUp = (row % heads) * (nope + vDim) * rank;
    addWeightedRows(absorbed, row * width, query, from, kvUp, keyUp, rank, nope, rank);
    for (let i = 0; i < rope; i++) absorbed[row * width + rank + i] = query[from + nope + i];
  }
  return absorbed;
}

function attendExpanded(
  mixed: Float32Array,
  query: Float32Array,
  kvUp: Float32Array,
  step: MlaStep,
  shape: MlaShape,
  scratch: Scratch,
): void {
  const { cache, tokens } = step;
  const { heads, kvLoraRank: rank, qkNopeDim: nope, qkRopeDim: rope, vDim } = shape;
  const width = rank + rope;
  const expandedDim = nope + vDim;
  const layerOffset = cache.layerOffset(step.layer);
  const latents = scratch.take("mla.latents", blockTokens * rank); // [positions, kvLoraRank]
  const expanded = scratch.take("mla.expanded", blockTokens * heads * expandedDim); // [positions, heads, nope + vDim]
  const scores = scratch.take("mla.scores", blockTokens); // [positions]
  const softmax = new RunningSoftmax(mixed, tokens * heads, vDim, step.rope.softmaxScale, scratch);

  const end = cache.length + tokens;
  for (let first = 0; first < end; first += blockTokens) {
    const block = cache.blocks[first / blockTokens];
    const inBlock = Math.min(blockTokens, end - first);
    for (let i = 0; i < inBlock; i++) {
      const from = layerOffset + i * width;
      latents.set(block.subarray(from, from + rank), i * rank);
    }
    linear(expanded, latents, kvUp, inBlock, rank, heads * expandedDim);

    for (let token = Math.max(0, first - cache.length); token < tokens; token++) {
      const visible = Math.min(inBlock, cache.length + token + 1 - first);
      for (let head = 0; head < heads; head++) {
        const row = token * heads + head;
        const from = row * (nope + rope);
        for (let i = 0; i < visible; i++) {
          const key = (i * heads + head) * expandedDim;
          const ropeKey = layerOffset + i * width + rank;
          scores[i] = dot(query, from, expanded, key, nope) + dot(query, from + nope, block, ropeKey, rope);
        }
        const values = head * expandedDim + nope;
        softmax.add(row, scores, 0, visible, expanded, values, heads * expandedDim);
      }
    }
  }
  softmax.finish();
}

/**
 * The softmax of scores that come a block at a time, with the values weighted by it: what was summed relative to the
 * old maximum is brought to the new one (Milakov and Gimelshein 2018, arXiv 1805.02867, algorithm 3).
 */
class RunningSoftmax {
  readonly #out: Float32Array; // [rows, width]
  readonly #rows: number;
  readonly #width: number;
  readonly #scale: number;
  readonly #largest: Float32Array; // [rows]
  readonly #sums: Float32Array; // [rows]

  /** out: [rows, width], taken over and cleared. scale: what scores are multiplied with. */
  constructor(out: Float32Array, rows: number, width: number, scale: number, scratch: Scratch) {
    this.#out = out;
    this.#rows = rows;
    this.#width = width;
    this.#scale = scale;
    this.#largest = scratch.take("mla.largest", rows).fill(Number.NEGATIVE_INFINITY, 0, rows);
    this.#sums = scratch.take("mla.sums", rows).fill(0, 0, rows);
    out.fill(0, 0, rows * width);
  }

  /** scores[from ..] of `count` positions, which this overwrites; value i lies at values[valuesFrom + i * stride]. */
  add(
    row: number,
    scores: Float32Array,
    from: number,
    count: number,
    values: Float32Array,
    valuesFrom: number,
    stride: number,
  ): void {
    const before = this.#largest[row];
    let largest = before;
    for (let i = from; i < from + count; i++) {
      scores[i] *= this.#scale;
      if (scores[i] > largest) largest = scores[i];
    }
    let sum = 0;
    for (let i = from; i < from + count; i++) {
      scores[i] = Math.exp(scores[i] - largest);
      sum += scores[i];
    }
    const to = row * this.#width;
    if (largest !== before) {
      const correction = Math.exp(before - largest);
      this.#largest[row] = largest;
      this.#sums[row] *= correction;
      for (let i = to; i < to + this.#width; i++) this.#out[i] *= correction;
    }
    this.#sums[row] += sum;
    addWeightedRows(this.#out, to, scores, from, values, valuesFrom, stride, count, this.#width);
  }

  finish(): void {
    for (let row = 0; row < this.#rows; row++) {
      const scale = 1 / this.#sums[row];
      for (let i = row * this.#width; i < (row + 1) * this.#width; i++) this.#out[i] *= scale;
    }
  }
}

/** out[outFrom + j] += sum over r of weights[weightsFrom + r] * matrix[matrixFrom + r * stride + j], j < columns. */
function addWeightedRows(
  out: Float32Array,
  outFrom: number,
  weights: Float32Array,
  weightsFrom: number,
  matrix: Float32Array,
  matrixFrom: number,
  stride: number,
  rows: number,
  columns: number,
): void {
  let row = 0;
  for (; row + 4 <= rows; row += 4) {
    const weight0 = weights[weightsFrom + row];
    const weight1 = weights[weightsFrom + row + 1];
    const weight2 = weights[weightsFrom + row + 2];
    const weight3 = weights[weightsFrom + row + 3];
    const row0 = matrixFrom + row * stride;
    const row1 = row0 + stride;
    const row2 = row1 + stride;
    const row3 = row2 + stride;
    for (let j = 0; j < columns; j++) {
      out[outFrom + j] +=
        weight0 * matrix[row0 + j] +
        weight1 * matrix[row1 + j] +
        weight2 * matrix[row2 + j] +
        weight3 * matrix[row3 + j];
    }
  }
  for (; row < rows; row++) {
    const weight = weights[weightsFrom + row];
    const from = matrixFrom + row * stride;
    for (let j = 0; j < columns; j++) out[outFrom + j] += weight * matrix[from + j];
  }
}
