/**
 * Absorbed latent attention over paged blocks (DeepSeek-V2, arXiv 2405.04434, section 2.1.2): what is cached is key
 * and value at once, for all heads. A softmax that runs along (Milakov and Gimelshein 2018, arXiv 1805.02867,
 * algorithm 3), corrected every 64 positions from the sequence's beginning, whatever else is computed.
 *
 * A block is [layers, positions, rank + rope]. The slices' table has for each slice: first row, rows, position, and
 * the address of its block numbers.
 */
import { attentionPositions, attentionTokens, threadsAt } from "../constants";
import {
  attentionScores1,
  attentionScores2,
  attentionValues1,
  attentionValues2,
  attentionValues4,
} from "./products";
import { exponential, scale } from "./vector";

/** Heads of a unit of work at most: as many rows as one pass over the values takes. */
const headsTogether: i32 = 4;

/** The layer's part of the cache block of positions [position, position + blockTokens). */
function blockAt(
  cache: usize,
  blocks: usize,
  position: i32,
  blockTokens: i32,
  layerBytes: usize,
  layers: i32,
  layer: i32,
): usize {
  const block = load<i32>(blocks + ((<usize>(position / blockTokens)) << 2));
  return cache + (<usize>block * layers + layer) * layerBytes;
}

/** Puts the rows of a slice, which begin at `latents`, into their blocks. */
export function storeSlice(
  latents: usize,
  rows: i32,
  position: i32,
  blocks: usize,
  cache: usize,
  layers: i32,
  layer: i32,
  blockTokens: i32,
  width: i32,
): void {
  const bytes = (<usize>width) << 2;
  for (let row = 0; row < rows; row++) {
    const at = position + row;
    const block = blockAt(cache, blocks, at, blockTokens, bytes * blockTokens, layers, layer);
    memory.copy(block + <usize>(at % blockTokens) * bytes, latents + <usize>row * bytes, bytes);
  }
}

/** Heads that a piece takes together: fewer where there are too few for the threads. */
function headsInPiece(heads: i32): i32 {
  return min(headsTogether, max(1, heads / load<i32>(threadsAt)));
}

/** Pieces: tiles of each slice's tokens, and for each of them groups of heads. */
export function attendPieces(slices: usize, sliceCount: i32, heads: i32): i32 {
  const together = headsInPiece(heads),
    groups = (heads + together - 1) / together;
  let tiles = 0;
  for (let s = 0; s < sliceCount; s++) tiles += tilesOf(slices + ((<usize>s) << 4));
  return tiles * groups;
}

function tilesOf(slice: usize): i32 {
  return (load<i32>(slice, 4) + attentionTokens - 1) / attentionTokens;
}

export function attendPiece(
  piece: i32,
  out: usize,
  query: usize,
  slices: usize,
  cache: usize,
  layers: i32,
  layer: i32,
  blockTokens: i32,
  width: i32,
  rank: i32,
  heads: i32,
  factor: f32,
  work: usize,
): void {
  const together = headsInPiece(heads),
    groups = (heads + together - 1) / together;
  const head = (piece % groups) * together;
  let tileIndex = piece / groups,
    slice = slices;
  for (; tileIndex >= tilesOf(slice); slice += 16) tileIndex -= tilesOf(slice);
  const row = tileIndex * attentionTokens,
    count = min(attentionTokens, load<i32>(slice, 4) - row);
  const position = load<i32>(slice, 8) + row,
    blocks = load<usize>(slice, 12);
  tile(
    out,
    query,
    load<i32>(slice) + row,
    count,
    position,
    blocks,
    cache,
    layers,
    layer,
    blockTokens,
    width,
    rank,
    heads,
    head,
    min(together, heads - head),
    factor,
    work,
  );
}

/**
 * `count` tokens from `row` on, whose first has `position`, and some of their heads. The thread's memory holds the
 * scores [heads together][64] and, for each token and head, the largest score so far and the sum.
 */
function tile(
  out: usize,
  query: usize,
  row: i32,
  count: i32,
  position: i32,
  blocks: usize,
  cache: usize,
  layers: i32,
  layer: i32,
  blockTokens: i32,
  width: i32,
  rank: i32,
  heads: i32,
  head: i32,
  headCount: i32,
  factor: f32,
  scores: usize,
): void {
  const layerBytes = <usize>blockTokens * width * 4,
    stride = (<usize>width) << 2;
  const state = scores + headsTogether * attentionPositions * 4;
  const work = state + attentionTokens * headsTogether * 8;
  const rankBytes = (<usize>rank) << 2;
  for (let t = 0; t < count; t++) {
    for (let h = 0; h < headCount; h++) {
      const at = state + ((<usize>(t * headsTogether + h)) << 3);
      store<f32>(at, -Infinity);
      store<f32>(at, 0, 4);
      memory.fill(out + <usize>((row + t) * heads + head + h) * rankBytes, 0, rankBytes);
    }
  }
  const end = position + count;
  for (let first = 0; first < end; first += attentionPositions) {
    for (let t = max(0, first - position); t < count; t++) {
      const visible = min(attentionPositions, position + t + 1 - first);
      const index = <usize>((row + t) * heads + head);
      const q = query + index * stride,
        o = out + index * rankBytes;
      for (let from = 0; from < visible; from += blockTokens) {
        const block = blockAt(cache, blocks, first + from, blockTokens, layerBytes, layers, layer);
        scoresOf(
          q,
          stride,
          headCount,
          block,
          stride,
          blockTokens,
          width,
          scores + ((<usize>from) << 2),
          work,
        );
      }
      for (let h = 0; h < headCount; h++) {
        const at = state + ((<usize>(t * headsTogether + h)) << 3);
        softmax(
          scores + <usize>h * (attentionPositions * 4),
          visible,
          factor,
          at,
          o + <usize>h * rankBytes,
          rank,
          work,
        );
      }
      for (let from = 0; from < visible; from += blockTokens) {
        const block = blockAt(cache, blocks, first + from, blockTokens, layerBytes, layers, layer);
        const inBlock = min(blockTokens, visible - from);
        valuesOf(o, rankBytes, headCount, block, stride, inBlock, rank, scores + ((<usize>from) << 2));
      }
    }
  }
  for (let t = 0; t < count; t++) {
    for (let h = 0; h < headCount; h++) {
      const sum = load<f32>(state + ((<usize>(t * headsTogether + h)) << 3), 4);
      scale(out + <usize>((row + t) * heads + head + h) * rankBytes, <f32>1 / sum, rank);
    }
  }
}

/** Scores of all positions of a block; those behind the last visible one are computed and not used. */
function scoresOf(
  q: usize,
  qStride: usize,
  heads: i32,
  k: usize,
  stride: usize,
  positions: i32,
  width: i32,
  scores: usize,
  work: usize,
): void {
  const row: usize = attentionPositions * 4;
  for (let from = 0; from < positions; from += 16) {
    let h = 0;
    let qs = q,
      s = scores;
    for (; h + 2 <= heads; h += 2) {
      attentionScores2(k, stride, width, work, qs, s, qs + qStride, s + row);
      qs += qStride << 1;
      s += row << 1;
    }
    if (h < heads) attentionScores1(k, stride, width, work, qs, s);
    k += stride << 4;
    scores += 64;
  }
}

/** Turns scores into weights relative to the largest score so far, and brings what was summed before to it. */
function softmax(
  scores: usize,
  count: i32,
  factor: f32,
  state: usize,
  out: usize,
  rank: i32,
  work: usize,
): void {
  const before = load<f32>(state),
    end = scores + ((<usize>count) << 2);
  for (let i = end; i & 15; i += 4) store<f32>(i, -Infinity);
  let highest = v128.load(scores);
  for (let i = scores + 16; i < end; i += 16) highest = f32x4.max(highest, v128.load(i));
  // Not-a-number is the largest of all, and stays: the row's result is one.
  const low = max(f32x4.extract_lane(highest, 0), f32x4.extract_lane(highest, 1));
  const high = max(f32x4.extract_lane(highest, 2), f32x4.extract_lane(highest, 3));
  const largest = max(before, max(low, high) * factor);
  exponential(scores, factor, largest, count);
  let sum = load<f32>(state, 4);
  if (largest !== before) {
    store<f32>(work, before);
    exponential(work, 1, largest, 1);
    const correction = load<f32>(work);
    sum *= correction;
    scale(out, correction, rank);
    store<f32>(state, largest);
  }
  let sums = f32x4.splat(0);
  for (let i = scores; i < end; i += 16) sums = f32x4.add(sums, v128.load(i));
  const first = f32x4.extract_lane(sums, 0) + f32x4.extract_lane(sums, 1);
  const second = f32x4.extract_lane(sums, 2) + f32x4.extract_lane(sums, 3);
  store<f32>(state, sum + (first + second), 4);
}

function valuesOf(
  out: usize,
  outStride: usize,
  heads: i32,
  v: usize,
  stride: usize,
  count: i32,
  rank: i32,
  weights: usize,
): void {
  const row: usize = attentionPositions * 4;
  let h = 0;
  if (heads === 4) {
    const o2 = out + (outStride << 1),
      w2 = weights + (row << 1);
    attentionValues4(
      v,
      stride,
      count,
      rank,
      weights,
      out,
      weights + row,
      out + outStride,
      w2,
      o2,
      w2 + row,
      o2 + outStride,
    );
    return;
  }
  for (; h + 2 <= heads; h += 2) {
    attentionValues2(v, stride, count, rank, weights, out, weights + row, out + outStride);
    out += outStride << 1;
    weights += row << 1;
  }
  if (h < heads) attentionValues1(v, stride, count, rank, weights, out);
}
