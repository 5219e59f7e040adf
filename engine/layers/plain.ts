/**
 * The operations in plain JavaScript, f32 weights as they are, one thread: the reference that the fast ones are tested
 * against, and what a machine without WebAssembly's threads can still run. Values are f32, sums f64 in the order of
 * the inputs, which is at least as exact as an f32 reference.
 */
import { strict as assert } from "node:assert";
import { addScaled, linear } from "./linear.ts";
import type { Batch, Matrix, Ops, Precision, Routing, Slice, SwigluMatrices } from "./ops.ts";

class PlainMatrix implements Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float32Array; // [rows, columns]

  constructor(rows: number, columns: number, values: Float32Array) {
    this.rows = rows;
    this.columns = columns;
    this.values = values;
  }

  get bytes(): number {
    return this.values.byteLength;
  }
}

function valuesOf(matrix: Matrix): Float32Array {
  assert(matrix instanceof PlainMatrix, "the matrix is of other operations");
  return matrix.values;
}

export class PlainOps implements Ops {
  readonly variant: string = "javascript f32";
  readonly weights: Precision = "f32";
  readonly threads = 1;
  allocatedBytes = 0;
  /** Buffers for what an operation computes on the way, by name. */
  readonly #buffers = new Map<string, Float32Array>();

  tensor(length: number): Float32Array {
    const tensor = new Float32Array(length);
    this.allocatedBytes += tensor.byteLength;
    return tensor;
  }

  matrix(rows: number, columns: number): Matrix {
    return new PlainMatrix(rows, columns, this.tensor(rows * columns));
  }

  pack(matrix: Matrix, firstRow: number, values: Float32Array): void {
    valuesOf(matrix).set(values, firstRow * matrix.columns);
  }

  gather(out: Float32Array, matrix: Matrix, ids: Int32Array): void {
    const { columns } = matrix;
    const values = valuesOf(matrix);
    for (let i = 0; i < ids.length; i++) {
      out.set(values.subarray(ids[i] * columns, (ids[i] + 1) * columns), i * columns);
    }
  }

  matmul(out: Float32Array, x: Float32Array, matrix: Matrix, tokens: number): void {
    linear(out, x, valuesOf(matrix), tokens, matrix.columns, matrix.rows);
  }

  matmulHeads(
    out: Float32Array,
    outWidth: number,
    x: Float32Array,
    xWidth: number,
    matrices: readonly Matrix[],
    tokens: number,
  ): void {
    const { rows, columns } = matrices[0];
    const inputs = this.#take("heads.inputs", tokens * columns);
    const outputs = this.#take("heads.outputs", tokens * rows);
    for (const [head, matrix] of matrices.entries()) {
      for (let token = 0; token < tokens; token++) {
        const from = (token * matrices.length + head) * xWidth;
        inputs.set(x.subarray(from, from + columns), token * columns);
      }
      this.matmul(outputs, inputs, matrix, tokens);
      for (let token = 0; token < tokens; token++) {
        const to = (token * matrices.length + head) * outWidth;
        out.set(outputs.subarray(token * rows, (token + 1) * rows), to);
      }
    }
  }

  swiglu(out: Float32Array, x: Float32Array, { gate, up, down }: SwigluMatrices, tokens: number): void {
    const length = tokens * gate.rows;
    const gated = this.#take("swiglu.gated", length);
    const lifted = this.#take("swiglu.lifted", length);
    this.matmul(gated, x, gate, tokens);
    this.matmul(lifted, x, up, tokens);
    for (let i = 0; i < length; i++) gated[i] = (gated[i] / (1 + Math.exp(-gated[i]))) * lifted[i];
    this.matmul(out, gated, down, tokens);
  }

  experts(out: Float32Array, x: Float32Array, matrices: readonly SwigluMatrices[], routing: Routing): void {
    const { experts, firstSlot, tokens, weights } = routing;
    const hidden = matrices[0].gate.columns;
    const gathered = this.#take("experts.gathered", tokens.length * hidden);
    const results = this.#take("experts.results", tokens.length * hidden);
    for (const [i, expert] of experts.entries()) {
      const first = firstSlot[i];
      const count = firstSlot[i + 1] - first;
      for (let slot = 0; slot < count; slot++) {
        const from = tokens[first + slot] * hidden;
        gathered.set(x.subarray(from, from + hidden), slot * hidden);
      }
      this.swiglu(results, gathered, matrices[expert], count);
      for (let slot = 0; slot < count; slot++) {
        addScaled(out, tokens[first + slot] * hidden, weights[first + slot], results, slot * hidden, hidden);
      }
    }
  }

  rmsNorm(
    out: Float32Array,
    x: Float32Array,
    weight: Float32Array,
    rows: number,
    epsilon: number,
    stride = weight.length,
  ): void {
    const width = weight.length;
    for (let from = 0; from < rows * stride; from += stride) {
      let squares = 0;
      for (let i = 0; i < width; i++) squares += x[from + i] * x[from + i];
      const scale = 1 / Math.sqrt(squares / width + epsilon);
      for (let i = 0; i < width; i++) out[from + i] = weight[i] * (x[from + i] * scale);
    }
  }

  add(out: Float32Array, x: Float32Array, length: number): void {
    for (let i = 0; i < length; i++) out[i] += x[i];
  }

  /** A block is [layers, blockTokens, width]. */
  store(latents: Float32Array, { cache, slices }: Batch, layer: number): void {
    const { blockTokens, width } = cache;
    for (const { firstRow, rows, position, blocks } of slices) {
      for (let row = 0; row < rows; row++) {
        const at = position + row;
        const block = blocks[Math.floor(at / blockTokens)];
        const to = ((block * cache.layers + layer) * blockTokens + (at % blockTokens)) * width;
        const from = (firstRow + row) * width;
        cache.values.set(latents.subarray(from, from + width), to);
      }
    }
  }

  attend(
    out: Float32Array,
    query: Float32Array,
    batch: Batch,
    layer: number,
    heads: number,
    rank: number,
    scale: number,
  ): void {
    for (const slice of batch.slices) this.#attendSlice(out, query, batch, slice, layer, heads, rank, scale);
  }

  /** A cache block at a time, so that it needs no memory by length. */
  #attendSlice(
    allOut: Float32Array,
    allQueries: Float32Array,
    { cache }: Batch,
    slice: Slice,
    layer: number,
    heads: number,
    rank: number,
    scale: number,
  ): void {
    const { values, blockTokens, width } = cache;
    const { firstRow, rows, position, blocks } = slice;
    const query = allQueries.subarray(firstRow * heads * width, (firstRow + rows) * heads * width);
    const out = allOut.subarray(firstRow * heads * rank, (firstRow + rows) * heads * rank);
    const scores = this.#take("attend.scores", rows * heads * blockTokens); // [rows, heads, positions of a block]
    const largest = this.#take("attend.largest", rows * heads);
    const softmax = new RunningSoftmax(out, rank, largest, this.#take("attend.sums", rows * heads));

    const end = position + rows;
    for (let first = 0; first < end; first += blockTokens) {
      const inBlock = Math.min(blockTokens, end - first);
      const at = (blocks[first / blockTokens] * cache.layers + layer) * blockTokens * width;
      const keys = values.subarray(at, at + inBlock * width); // [positions, width]
      linear(scores, query, keys, rows * heads, width, inBlock);
      for (let row = Math.max(0, first - position); row < rows; row++) {
        const visible = Math.min(inBlock, position + row + 1 - first);
        for (let line = row * heads; line < (row + 1) * heads; line++) {
          softmax.add(line, scores, line * inBlock, visible, scale, keys, width);
        }
      }
    }
    softmax.finish(rows * heads);
  }

  close(): void {}

  #take(name: string, length: number): Float32Array {
    let buffer = this.#buffers.get(name);
    if (!buffer || buffer.length < length) {
      buffer = new Float32Array(length);
      this.#buffers.set(name, buffer);
    }
    return buffer;
  }
}

/**
 * The softmax of scores that come a block at a time, with the values weighted by it: what was summed relative to the
 * old maximum is brought to the new one (Milakov and Gimelshein 2018, arXiv 1805.02867, algorithm 3). Blocks lie by
 * position, so the order of a line's sums does not depend on the step that it comes in.
 */
class RunningSoftmax {
  readonly #out: Float32Array; // [lines, width]
  readonly #width: number;
  readonly #largest: Float32Array; // [lines]
  readonly #sums: Float32Array; // [lines]

  /** All three are taken over and cleared. */
  constructor(out: Float32Array, width: number, largest: Float32Array, sums: Float32Array) {
    this.#out = out.fill(0);
    this.#width = width;
    this.#largest = largest.fill(Number.NEGATIVE_INFINITY);
    this.#sums = sums.fill(0);
  }

  /** scores[from ..] of `count` positions, which this overwrites; value i lies at values[i * stride]. */
  add(
    line: number,
    scores: Float32Array,
    from: number,
    count: number,
    scale: number,
    values: Float32Array,
    stride: number,
  ): void {
    const before = this.#largest[line];
    let largest = before;
    for (let i = from; i < from + count; i++) {
      scores[i] *= scale;
      if (scores[i] > largest) largest = scores[i];
    }
    let sum = 0;
    for (let i = from; i < from + count; i++) {
      scores[i] = Math.exp(scores[i] - largest);
      sum += scores[i];
    }
    const to = line * this.#width;
    if (largest !== before) {
      const correction = Math.exp(before - largest);
      this.#largest[line] = largest;
      this.#sums[line] *= correction;
      for (let i = to; i < to + this.#width; i++) this.#out[i] *= correction;
    }
    this.#sums[line] += sum;
    for (let i = 0; i < count; i++) {
      addScaled(this.#out, to, scores[from + i], values, i * stride, this.#width);
    }
  }

  finish(lines: number): void {
    for (let line = 0; line < lines; line++) {
      const scale = 1 / this.#sums[line];
      for (let i = line * this.#width; i < (line + 1) * this.#width; i++) this.#out[i] *= scale;
    }
  }
}
