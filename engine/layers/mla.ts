/**
 * Multi-head latent attention (DeepSeek-V3 report, arXiv 2412.19437, section 2.1.1, eq. 1 to 11; first in DeepSeek-V2,
 * arXiv 2405.04434). Keys and values of all heads come from one latent a token; only it and one rotated key are
 * cached. The key's up-projection is absorbed into the query and the value's is applied to the weighted latent
 * (DeepSeek-V2, section 2.1.2), so nothing is expanded for the tokens of the past.
 *
 * For many queries expanding keys and values would take fewer products. But then a token's bits would depend on how
 * its prompt was cut into chunks and on what the prefix cache held, so there is one form for all.
 */
import type { Batch, Matrix, Ops } from "./ops.ts";
import type { Rope } from "./rope.ts";
import type { Scratch } from "./scratch.ts";

/** The norms inside attention have this epsilon in DeepSeek's and transformers' code, whatever rms_norm_eps says. */
const latentNormEpsilon = 1e-6;

export interface MlaShape {
  readonly heads: number;
  readonly kvLoraRank: number;
  readonly qkNopeDim: number;
  readonly qkRopeDim: number;
  readonly vDim: number;
}

export interface MlaWeights {
  readonly query:
    | { readonly full: Matrix } // [heads * (nope + rope), hidden]
    | {
        readonly down: Matrix; // [qLoraRank, hidden]
        readonly norm: Float32Array; // [qLoraRank]
        readonly up: Matrix; // [heads * (nope + rope), qLoraRank]
      };
  readonly kvDown: Matrix; // [kvLoraRank + rope, hidden]
  readonly kvNorm: Float32Array; // [kvLoraRank]
  /** A head's key up-projection, transposed: from a query to the space of the latents. */
  readonly keyUp: readonly Matrix[]; // heads of [kvLoraRank, nope]
  readonly valueUp: readonly Matrix[]; // heads of [vDim, kvLoraRank]
  readonly out: Matrix; // [hidden, heads * vDim]
}

/** What the layers of one step share. */
export interface MlaStep {
  readonly ops: Ops;
  readonly scratch: Scratch;
  readonly batch: Batch;
  readonly rope: Rope;
  /** Of each token's position. */
  readonly cos: Float32Array; // [tokens, rope / 2]
  readonly sin: Float32Array; // [tokens, rope / 2]
}

/** x and out: [tokens, hidden]. Writes the step's latents and rope keys to the cache. */
export function mla(
  out: Float32Array,
  x: Float32Array,
  weights: MlaWeights,
  step: MlaStep,
  layer: number,
  shape: MlaShape,
): void {
  const { ops, scratch, batch, rope } = step;
  const { heads, kvLoraRank: rank, vDim } = shape;
  cacheLatents(x, weights, step, layer, shape);
  const query = absorbedQuery(x, weights, step, shape);
  const weighted = scratch.take("mla.weighted", heads * rank); // [tokens, heads, kvLoraRank]
  ops.attend(weighted, query, batch, layer, heads, rank, rope.softmaxScale);
  const mixed = scratch.take("mla.mixed", heads * vDim); // [tokens, heads, vDim]
  ops.matmulHeads(mixed, vDim, weighted, rank, weights.valueUp, batch.tokens);
  ops.matmul(out, mixed, weights.out, batch.tokens);
}

function cacheLatents(
  x: Float32Array,
  weights: MlaWeights,
  { ops, scratch, batch, rope, cos, sin }: MlaStep,
  layer: number,
  shape: MlaShape,
): void {
  const width = shape.kvLoraRank + shape.qkRopeDim;
  const latents = scratch.take("mla.latents", width); // [tokens, kvLoraRank + rope]
  ops.matmul(latents, x, weights.kvDown, batch.tokens);
  ops.rmsNorm(latents, latents, weights.kvNorm, batch.tokens, latentNormEpsilon, width);
  const keys = { values: latents, first: shape.kvLoraRank, stride: width };
  rope.rotate(keys, keys, batch.tokens, 1, cos, sin);
  ops.store(latents, batch, layer);
}

/** Returns [tokens, heads, kvLoraRank + rope]: a query in the space of what is cached. */
function absorbedQuery(
  x: Float32Array,
  weights: MlaWeights,
  { ops, scratch, batch, rope, cos, sin }: MlaStep,
  shape: MlaShape,
): Float32Array {
  const { heads, kvLoraRank: rank, qkNopeDim: nope, qkRopeDim } = shape;
  const headDim = nope + qkRopeDim;
  const width = rank + qkRopeDim;
  const query = scratch.take("mla.query", heads * headDim); // [tokens, heads, nope + rope]
  if ("full" in weights.query) {
    ops.matmul(query, x, weights.query.full, batch.tokens);
  } else {
    const { down, norm, up } = weights.query;
    const low = scratch.take("mla.queryLow", norm.length); // [tokens, qLoraRank]
    ops.matmul(low, x, down, batch.tokens);
    ops.rmsNorm(low, low, norm, batch.tokens, latentNormEpsilon);
    ops.matmul(query, low, up, batch.tokens);
  }
  const absorbed = scratch.take("mla.absorbed", heads * width);
  ops.matmulHeads(absorbed, width, query, headDim, weights.keyUp, batch.tokens);
  const rotated = { values: absorbed, first: rank, stride: width };
  const straight = { values: query, first: nope, stride: headDim };
  rope.rotate(rotated, straight, batch.tokens, heads, cos, sin);
  return absorbed;
}
