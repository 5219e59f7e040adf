/**
 * What a forward pass needs done, over tensors in one memory: the seam between a model, which says what is computed,
 * and who computes it (plain.ts in JavaScript, the reference; kernels/ in WebAssembly on threads).
 *
 * The promise that all of serving rests on: **a token's results do not depend on what else is computed with it.**
 * Each sum runs over its own inputs in one fixed order, whether a token comes alone, in a batch, in a chunk of a
 * prompt or after a prefix from the cache; rows may be divided among threads, sums may not. So the same request gives
 * the same bits whatever else runs.
 *
 * Every operation is synchronous: it is done when it returns. `out` never overlaps an input unless a line says so.
 * Tensors are row-major and begin at a multiple of 64 bytes; where one is passed with a count, only that many of its
 * rows are used.
 */

/** A projection's weights as the operations keep them: packed, perhaps quantised, never seen from outside. */
export interface Matrix {
  readonly rows: number; // outputs
  readonly columns: number; // inputs
  /** What reading it once reads. */
  readonly bytes: number;
}

/** down(silu(gate(x)) * up(x)): Shazeer 2020, arXiv 2002.05202, eq. 6. */
export interface SwigluMatrices {
  readonly gate: Matrix; // [intermediate, hidden]
  readonly up: Matrix; // [intermediate, hidden]
  readonly down: Matrix; // [hidden, intermediate]
}

/** Which tokens go to which expert, by rising expert; tokens of one expert by rising row. */
export interface Routing {
  /** Those that have a token at all, rising. */
  readonly experts: readonly number[];
  /** Slots of experts[i] are firstSlot[i] to firstSlot[i + 1]. */
  readonly firstSlot: Int32Array; // [experts + 1]
  readonly tokens: Int32Array; // [slots]: the row of x and of out
  readonly weights: Float32Array; // [slots]: what the expert's output is multiplied with
}

/** A sequence's part of a step. */
export interface Slice {
  /** Its first row among the step's tokens, and how many follow. */
  readonly firstRow: number;
  readonly rows: number;
  /** Tokens of the sequence that came before the step: row firstRow + i has position `position` + i. */
  readonly position: number;
  /** blocks[i] is the cache block of positions i * blockTokens and on; at least as many as position + rows need. */
  readonly blocks: Int32Array;
}

/** The latent cache as the operations see it. What lies where inside a block is theirs. */
export interface LatentBlocks {
  /** Block b is values[b * layers * blockTokens * width ..]: a tensor of these operations. */
  readonly values: Float32Array;
  readonly layers: number;
  readonly blockTokens: number;
  /** rank + rope */
  readonly width: number;
}

/** All tokens of a step: one object a step, so what is derived from it can be kept until the next one comes. */
export interface Batch {
  readonly tokens: number;
  readonly slices: readonly Slice[];
  readonly cache: LatentBlocks;
}

export type Precision = "f32" | "int8";

export interface Ops {
  /** What computes, for people: "javascript f32", "wasm int8 relaxed-dot", ... */
  readonly variant: string;
  /** How matrices are kept where `matrix` is not told otherwise. */
  readonly weights: Precision;
  readonly threads: number;
  /** Bytes of all tensors and matrices so far: what the allocator gave out, not what the system has touched. */
  readonly allocatedBytes: number;

  /** Zeros. Stays until close(): a model takes its buffers once. Errors: RangeError where memory ends. */
  tensor(length: number): Float32Array;

  /**
   * Memory for weights, to be filled by pack(). precision "f32" keeps a matrix exact whatever the others are: a
   * router's scores decide between experts. Errors: RangeError where memory ends.
   */
  matrix(rows: number, columns: number, precision?: "f32"): Matrix;

  /**
   * Packs whole rows, from firstRow on: `values` is [some rows, columns], anywhere in memory, and is not kept. Comes
   * once for every row, in order, in bands: firstRow is a multiple of 32, and so is the number of rows but in the last.
   */
  pack(matrix: Matrix, firstRow: number, values: Float32Array): void;

  /** out[i] = row ids[i] of the matrix. out: [ids, columns]. */
  gather(out: Float32Array, matrix: Matrix, ids: Int32Array): void;

  /** out = x W^T. x: [tokens, columns], out: [tokens, rows]. */
  matmul(out: Float32Array, x: Float32Array, matrix: Matrix, tokens: number): void;

  /**
   * A product a head: the first `rows` values of out's [token, head, outWidth] = matrices[head] times the first
   * `columns` values of x's [token, head, xWidth]. All matrices have one shape. What lies behind those values in out
   * is left alone.
   */
  matmulHeads(
    out: Float32Array, // [tokens, heads, outWidth]
    outWidth: number,
    x: Float32Array, // [tokens, heads, xWidth]
    xWidth: number,
    matrices: readonly Matrix[], // [heads]
    tokens: number,
  ): void;

  /** x, out: [tokens, hidden]. */
  swiglu(out: Float32Array, x: Float32Array, matrices: SwigluMatrices, tokens: number): void;

  /**
   * out[t] += for each expert that t goes to, by rising expert, weight * swiglu(x[t]): each expert's matrices are
   * read once for all its tokens. All experts have one shape. x, out: [tokens, hidden].
   */
  experts(out: Float32Array, x: Float32Array, matrices: readonly SwigluMatrices[], routing: Routing): void;

  /**
   * out = weight * x / sqrt(mean(x^2) + epsilon) for `rows` vectors of weight.length values: Zhang and Sennrich 2019,
   * arXiv 1910.07467, eq. 4. Row r begins at r * stride in both; out may be x.
   */
  rmsNorm(
    out: Float32Array,
    x: Float32Array,
    weight: Float32Array,
    rows: number,
    epsilon: number,
    stride?: number,
  ): void;

  /** out += x, the first `length` values. */
  add(out: Float32Array, x: Float32Array, length: number): void;

  /** Puts the step's rows into their blocks of `layer`: [tokens, rank + rope], latents normalised, rope keys rotated. */
  store(latents: Float32Array, batch: Batch, layer: number): void;

  /**
   * Absorbed latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1.2): each head of each row attends to its
   * own sequence's cached positions up to its own, stored before. What is cached is key and value at once:
   * out[t, h] = sum over p of softmax(scale * query[t, h] . cached[p])[p] * cached[p][.. rank].
   */
  attend(
    out: Float32Array, // [tokens, heads, rank]
    query: Float32Array, // [tokens, heads, rank + rope]
    batch: Batch,
    layer: number,
    heads: number,
    rank: number,
    scale: number,
  ): void;

  /** Ends the threads. Nothing may be called after it. */
  close(): void;
}
