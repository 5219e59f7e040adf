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
import { blockTokens, type SequenceCache } from "../cache/latent.ts";
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
  const latents = scratch.take("mla.latents", tokens * width); // [tokens, kvLoraRank + rope]
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
  const layerOffset = cache.layerOffset(step.layer);
  const absorbed = scratch.take("mla.absorbed", width); // [kvLoraRank + rope]
  const weighted = scratch.take("mla.weighted", rank); // [kvLoraRank]
  const scores = scratch.take("mla.scores", (cache.blocks.length + 1) * blockTokens); // [positions]

  for (let token = 0; token < tokens; token++) {
    const positions = cache.length + token + 1;
    for (let head = 0; head < heads; head++) {
      const from = (token * heads + head) * (nope + rope);
      const up = head * (nope + vDim) * rank;
      absorbQuery(absorbed, query, from, kvUp, up, nope, rank);
      for (let i = 0; i < rope; i++) absorbed[rank + i] = query[from + nope + i];

      let largest = Number.NEGATIVE_INFINITY;
      for (let first = 0; first < positions; first += blockTokens) {
        const block = cache.blocks[first / blockTokens];
        const count = Math.min(blockTokens, positions - first);
        for (let i = 0; i < count; i++) {
          const score = dot(absorbed, 0, block, layerOffset + i * width, width) * step.rope.softmaxScale;
          scores[first + i] = score;
          if (score > largest) largest = score;
        }
      }
      let sum = 0;
      for (let position = 0; position < positions; position++) {
        const exponential = Math.exp(scores[position] - largest);
        scores[position] = exponential;
        sum += exponential;
      }
      weighted.fill(0, 0, rank);
      for (let first = 0; first < positions; first += blockTokens) {
        const block = cache.blocks[first / blockTokens];
        const count = Math.min(blockTokens, positions - first);
        addWeightedRows(weighted, 0, scores, first, block, layerOffset, width, count, rank);
      }
      const to = (token * heads + head) * vDim;
      const valueUp = up + nope * rank;
      for (let i = 0; i < vDim; i++) mixed[to + i] = dot(weighted, 0, kvUp, valueUp + i * rank, rank) / sum;
    }
  }
}

/** absorbed[j] = sum over n of query[from + n] * kvUp[up + n * rank + j]: the query in the latent's space. */
function absorbQuery(
  absorbed: Float32Array,
  query: Float32Array,
  from: number,
  kvUp: Float32Array,
  up: number,
  nope: number,
  rank: number,
): void {
  absorbed.fill(0, 0, rank);
  addWeightedRows(absorbed, 0, query, from, kvUp, up, rank, nope, rank);
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
  const latents = scratch.take("mla.blockLatents", blockTokens * rank); // [blockTokens, kvLoraRank]
  const expanded = scratch.take("mla.expanded", blockTokens * heads * expandedDim); // [blockTokens, heads, nope + vDim]
  const scores = scratch.take("mla.blockScores", blockTokens); // [blockTokens]
  const largest = scratch.take("mla.largest", tokens * heads); // [tokens, heads]
  const sums = scratch.take("mla.sums", tokens * heads); // [tokens, heads]
  largest.fill(Number.NEGATIVE_INFINITY, 0, tokens * heads);
  sums.fill(0, 0, tokens * heads);
  mixed.fill(0, 0, tokens * heads * vDim);

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
        const before = largest[row];
        let top = before;
        for (let i = 0; i < visible; i++) {
          const key = (i * heads + head) * expandedDim;
          const ropeKey = layerOffset + i * width + rank;
          const score = Math.fround(
            (dot(query, from, expanded, key, nope) + dot(query, from + nope, block, ropeKey, rope)) *
              step.rope.softmaxScale,
          );
          scores[i] = score;
          if (score > top) top = score;
        }
        // What was summed relative to the old maximum is brought to the new one (Milakov and Gimelshein 2018,
        // arXiv 1805.02867, algorithm 3).
        const correction = Math.exp(before - top);
        let sum = sums[row] * correction;
        for (let i = 0; i < visible; i++) {
          const exponential = Math.exp(scores[i] - top);
          scores[i] = exponential;
          sum += exponential;
        }
        largest[row] = top;
        sums[row] = sum;
        const to = row * vDim;
        if (correction !== 1) for (let i = 0; i < vDim; i++) mixed[to + i] *= correction;
        const values = head * expandedDim + nope;
        addWeightedRows(mixed, to, scores, 0, expanded, values, heads * expandedDim, visible, vDim);
      }
    }
  }
  for (let row = 0; row < tokens * heads; row++) {
    for (let i = row * vDim; i < (row + 1) * vDim; i++) mixed[i] /= sums[row];
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
