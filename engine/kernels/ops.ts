/**
 * The operations of a forward pass in WebAssembly, on threads: this writes an operation's arguments into the shared
 * memory and runs it (threads/pool.ts); what is computed stands in assembly/ and generate.ts.
 */
import { strict as assert } from "node:assert";
import type { Batch, Matrix, Ops, Precision, Routing, SwigluMatrices } from "../layers/ops.ts";
import { ThreadPool } from "../threads/pool.ts";
import { kernelModule } from "./build.ts";
import { CommandWriter } from "./command-writer.ts";
import { compileKernels } from "./compile.ts";
import {
  columnsInGroup,
  commandAdd,
  commandAttend,
  commandExperts,
  commandGather,
  commandMatmul,
  commandMatmulHeads,
  commandNorm,
  commandPack,
  commandRead,
  commandStore,
  exactGroupBytes,
  fewSlots,
  formatF32,
  formatRelaxed,
  int8BlockBytes,
  relaxedGroupBytes,
  rowsInBlock,
} from "./constants.ts";
import { KernelMemory } from "./memory.ts";
import { agreesWithPlain } from "./self-check.ts";
import { chooseVariant, type Variant, variants } from "./variants.ts";
import type { WasmModule } from "./webassembly.ts";

export { variants } from "./variants.ts";

export interface OpsOptions {
  readonly weights: Precision;
  /** At least 1: how many threads compute, the caller's among them. */
  readonly threads: number;
  /** Of tensors and matrices together. */
  readonly maxBytes?: number;
  /** One of variants(weights); the best of them where it is not given. */
  readonly variant?: string | undefined;
}

/** Errors: RangeError for a variant that this processor does not run exactly. */
export async function openOps(options: OpsOptions): Promise<KernelOps> {
  const { weights, threads, maxBytes } = options;
  return openKernels(chooseVariant(weights, options.variant), threads, maxBytes);
}

/** As openOps, with a variant that is not asked whether the processor runs it exactly. */
export async function openKernels(variant: Variant, threads: number, maxBytes?: number): Promise<KernelOps> {
  assert(Number.isInteger(threads) && threads >= 1);
  let module = checkedModules.get(variant);
  if (!module) {
    module = await checkedModule(variant);
    checkedModules.set(variant, module);
  }
  return openModule(module, variant, threads, maxBytes);
}

/** Machine code that this process has checked, by what was checked. */
const checkedModules = new Map<Variant, WasmModule>();

async function checkedModule(variant: Variant): Promise<WasmModule> {
  const bytes = await kernelModule(variant.flavour);
  const isExactHere = variants(variant.precision).includes(variant.name);
  for (const wide of [true, false]) {
    const module = compileKernels(bytes, wide);
    if (!isExactHere) return module; // asked for all the same
    const ops = await openModule(module, variant, 1);
    const agrees = agreesWithPlain(ops);
    ops.close();
    if (agrees) return module;
    console.error(
      `engine: kernels ${variant.name} compute wrongly with ${wide ? 256 : 128}-bit vectors here`,
    );
  }
  throw new Error(`the kernels ${variant.name} do not compute rightly on this processor`);
}

async function openModule(
  module: WasmModule,
  variant: Variant,
  threads: number,
  maxBytes?: number,
): Promise<KernelOps> {
  const memory = new KernelMemory(threads, maxBytes);
  return new KernelOps(variant, memory, await ThreadPool.open(module, memory.memory, threads));
}

/** Less work than this (products, or values) is done before another thread has taken its part of it. */
const worthThreads = 65_536;
/** Rows are copied into the shared memory this many bytes at a time, to be packed. */
const stagingBytes = 1 << 20;

class KernelMatrix implements Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly bytes: number;
  readonly address: number;
  readonly format: number;

  constructor(rows: number, columns: number, bytes: number, address: number, format: number) {
    this.rows = rows;
    this.columns = columns;
    this.bytes = bytes;
    this.address = address;
    this.format = format;
  }
}

function kernelMatrix(matrix: Matrix): KernelMatrix {
  assert(matrix instanceof KernelMatrix, "the matrix is of other operations");
  return matrix;
}

function matrixBytes(rows: number, columns: number, format: number): number {
  const blocks = Math.ceil(rows / rowsInBlock);
  if (format === formatF32) return blocks * rowsInBlock * columns * 4;
  return blocks * Math.ceil(columns / columnsInGroup) * int8BlockBytes;
}

/** Bytes of `columns` activations as a product of this format wants them. */
function recordBytes(columns: number, format: number): number {
  if (format === formatF32) return Math.ceil(columns / columnsInGroup) * columnsInGroup * 4;
  return (
    Math.ceil(columns / columnsInGroup) * (format === formatRelaxed ? relaxedGroupBytes : exactGroupBytes)
  );
}

export class KernelOps implements Ops {
  readonly variant: string;
  readonly weights: Precision;
  readonly threads: number;
  readonly #format: number;
  readonly #memory: KernelMemory;
  readonly #pool: ThreadPool;
  readonly #command: CommandWriter;
  /** Room for what an operation computes on the way and for its tables, by name; grows as it is asked for. */
  readonly #rooms = new Map<string, { address: number; bytes: number }>();
  /** Tables of addresses, by what they were made from: weights do not move. */
  readonly #tables = new WeakMap<object, number>();
  #batch: Batch | undefined;
  #slices = 0;

  constructor(variant: Variant, memory: KernelMemory, pool: ThreadPool) {
    this.variant = `wasm ${variant.precision} ${variant.name}`;
    this.weights = variant.precision;
    this.threads = pool.threads;
    this.#format = variant.format;
    this.#memory = memory;
    this.#pool = pool;
    this.#command = new CommandWriter(memory.memory.buffer);
  }

  get allocatedBytes(): number {
    return this.#memory.allocatedBytes;
  }

  tensor(length: number): Float32Array {
    return this.#memory.floats(this.#memory.allocate(length * 4), length);
  }

  matrix(rows: number, columns: number, precision?: "f32"): Matrix {
    assert(rows > 0 && columns > 0);
    const format = precision === "f32" ? formatF32 : this.#format;
    const bytes = matrixBytes(rows, columns, format);
    return new KernelMatrix(rows, columns, bytes, this.#memory.allocate(bytes), format);
  }

  pack(matrix: Matrix, firstRow: number, values: Float32Array): void {
    const { rows, columns, address, format } = kernelMatrix(matrix);
    const count = values.length / columns;
    assert(Number.isInteger(count) && firstRow >= 0 && firstRow + count <= rows, "rows beyond the matrix");
    const staged = Math.max(1, Math.floor(stagingBytes / (columns * 4)));
    const staging = this.#room("staging", Math.min(staged, count) * columns * 4);
    for (let row = 0; row < count; row += staged) {
      const band = values.subarray(row * columns, Math.min(row + staged, count) * columns);
      this.#memory.floats(staging, band.length).set(band);
      const words = [address, columns, format, firstRow + row, band.length / columns, staging];
      this.#run(commandPack, words, band.length);
    }
  }

  gather(out: Float32Array, matrix: Matrix, ids: Int32Array): void {
    const { rows, columns, address, format } = kernelMatrix(matrix);
    for (const id of ids) assert(id >= 0 && id < rows, "no such row");
    const to = this.#address(out, ids.length * columns);
    const words = [to, address, columns, format, this.#copy("ids", ids), ids.length];
    this.#run(commandGather, words, ids.length * columns);
  }

  matmul(out: Float32Array, x: Float32Array, matrix: Matrix, tokens: number): void {
    if (tokens === 0) return;
    const { rows, columns, address, format } = kernelMatrix(matrix);
    const from = this.#address(x, tokens * columns);
    const to = this.#address(out, tokens * rows);
    const quants = format === formatF32 ? 0 : this.#room("quants", tokens * recordBytes(columns, format));
    const words = [format, address, rows, columns, tokens, from, to, quants];
    this.#run(commandMatmul, words, rows * columns * tokens);
  }

  matmulHeads(
    out: Float32Array,
    outWidth: number,
    x: Float32Array,
    xWidth: number,
    matrices: readonly Matrix[],
    tokens: number,
  ): void {
    if (tokens === 0) return;
    const { rows, columns, format } = kernelMatrix(matrices[0]);
    const heads = matrices.length;
    assert(rows <= outWidth && columns <= xWidth);
    const from = this.#address(x, tokens * heads * xWidth);
    const to = this.#address(out, tokens * heads * outWidth);
    const records = tokens * heads * recordBytes(columns, format);
    const quants = format === formatF32 ? 0 : this.#room("quants", records);
    const table = this.#table(matrices, () => {
      for (const matrix of matrices) sameShape(matrix, matrices[0]);
      return matrices.map((matrix) => kernelMatrix(matrix).address);
    });
    const words = [format, table, heads, rows, columns, tokens, from, xWidth, to, outWidth, quants];
    this.#run(commandMatmulHeads, words, heads * rows * columns * tokens);
  }

  swiglu(out: Float32Array, x: Float32Array, matrices: SwigluMatrices, tokens: number): void {
    if (tokens === 0) return;
    const table = this.#table(matrices, () => expertAddresses([matrices]));
    const slots = this.#copy("slots", Int32Array.of(0, tokens));
    this.#experts(out, x, matrices, table, 1, tokens, tokens, slots, 0, 0);
  }

  experts(out: Float32Array, x: Float32Array, matrices: readonly SwigluMatrices[], routing: Routing): void {
    const { experts, firstSlot, tokens, weights } = routing;
    if (tokens.length === 0) return;
    const all = this.#table(matrices, () => expertAddresses(matrices));
    const source = new Uint32Array(this.#memory.memory.buffer, all, matrices.length * 3);
    const chosen = new Uint32Array(experts.length * 3);
    for (let i = 0; i < experts.length; i++) {
      for (let j = 0; j < 3; j++) chosen[i * 3 + j] = source[experts[i] * 3 + j];
    }
    let rows = 0;
    for (const token of tokens) rows = Math.max(rows, token + 1);
    this.#experts(
      out,
      x,
      matrices[0],
      this.#copy("experts", chosen),
      experts.length,
      rows,
      tokens.length,
      this.#copy("slots", firstSlot.subarray(0, experts.length + 1)),
      this.#copy("tokens", tokens),
      this.#copy("weights", weights),
    );
  }

  #experts(
    out: Float32Array,
    x: Float32Array,
    { gate, up, down }: SwigluMatrices,
    table: number,
    experts: number,
    rows: number,
    slots: number,
    firstSlot: number,
    tokens: number,
    weights: number,
  ): void {
    const { columns: hidden, rows: intermediate, format } = kernelMatrix(gate);
    sameShape(up, gate);
    assert(down.rows === hidden && down.columns === intermediate && kernelMatrix(down).format === format);
    const from = this.#address(x, rows * hidden);
    const to = this.#address(out, rows * hidden);
    const quants = format === formatF32 ? 0 : this.#room("quants", rows * recordBytes(hidden, format));
    const inner = this.#room("inner", slots * recordBytes(intermediate, format));
    const shape = [format, table, experts, hidden, intermediate, rows];
    const results = slots <= fewSlots ? this.#room("results", slots * hidden * 4) : 0;
    const words = [...shape, from, to, firstSlot, tokens, weights, quants, inner, results];
    this.#run(commandExperts, words, 3 * hidden * intermediate * slots);
  }

  rmsNorm(
    out: Float32Array,
    x: Float32Array,
    weight: Float32Array,
    rows: number,
    epsilon: number,
    stride = weight.length,
  ): void {
    if (rows === 0) return;
    const width = weight.length;
    const length = (rows - 1) * stride + width;
    const addresses = [this.#address(out, length), this.#address(x, length), this.#address(weight, width)];
    this.#command.writeWithDouble(commandNorm, [...addresses, width, rows, stride], epsilon);
    this.#pool.run(rows * width >= worthThreads);
  }

  add(out: Float32Array, x: Float32Array, length: number): void {
    const words = [this.#address(out, length), this.#address(x, length), length];
    this.#run(commandAdd, words, length);
  }

  store(latents: Float32Array, batch: Batch, layer: number): void {
    const { values, layers, blockTokens, width } = batch.cache;
    const from = this.#address(latents, batch.tokens * width);
    const cache = this.#address(values, 0);
    const slices = this.#slicesOf(batch);
    const words = [from, slices, batch.slices.length, cache, layers, layer, blockTokens, width];
    this.#run(commandStore, words, batch.tokens * width);
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
    const { values, layers, blockTokens, width } = batch.cache;
    assert(rank <= width && attentionBlock(blockTokens));
    const to = this.#address(out, batch.tokens * heads * rank);
    const from = this.#address(query, batch.tokens * heads * width);
    const slices = this.#slicesOf(batch);
    const cache = [this.#address(values, 0), layers, layer, blockTokens];
    const words = [to, from, slices, batch.slices.length, ...cache, width, rank, heads];
    const positions = batch.slices.reduce((sum, { rows, position }) => sum + rows * (position + rows), 0);
    this.#run(commandAttend, words, positions * heads * (width + rank), scale);
  }

  /** Reads memory of these operations and does nothing with it. For benchmarks: what memory allows. */
  read(address: number, bytes: number): void {
    assert(address >= 0 && address + bytes <= this.allocatedBytes);
    this.#run(commandRead, [address, Math.floor(bytes / 64)], bytes);
  }

  readMatrix(matrix: Matrix): void {
    this.read(kernelMatrix(matrix).address, matrix.bytes);
  }

  close(): void {
    this.#pool.close();
  }

  #run(code: number, words: readonly number[], work: number, real?: number): void {
    this.#command.write(code, words, real);
    this.#pool.run(work >= worthThreads);
  }

  /** The slices' table (assembly/attention.ts), made once a step. */
  #slicesOf(batch: Batch): number {
    if (this.#batch === batch) return this.#slices;
    const { slices, cache } = batch;
    const blocksInCache = cache.values.length / (cache.layers * cache.blockTokens * cache.width);
    const table = new Int32Array(
      slices.length * 4 + slices.reduce((sum, slice) => sum + slice.blocks.length, 0),
    );
    const address = this.#room("slices", table.byteLength);
    let next = slices.length * 4;
    for (const [i, { firstRow, rows, position, blocks }] of slices.entries()) {
      assert(firstRow >= 0 && firstRow + rows <= batch.tokens, "rows beyond the batch");
      const used = Math.ceil((position + rows) / cache.blockTokens);
      assert(used <= blocks.length, "positions beyond the blocks");
      for (let b = 0; b < used; b++) assert(blocks[b] >= 0 && blocks[b] < blocksInCache, "no such block");
      table.set([firstRow, rows, position, address + next * 4], i * 4);
      table.set(blocks, next);
      next += blocks.length;
    }
    new Int32Array(this.#memory.memory.buffer, address, table.length).set(table);
    this.#batch = batch;
    this.#slices = address;
    return address;
  }

  /** The address of a tensor that has at least `length` values. */
  #address(tensor: Float32Array, length: number): number {
    assert(this.#memory.holds(tensor.buffer), "the tensor is not of these operations");
    assert(length <= tensor.length, "an operation beyond its tensor");
    return tensor.byteOffset;
  }

  #room(name: string, bytes: number): number {
    const room = this.#rooms.get(name);
    if (room && room.bytes >= bytes) return room.address;
    // What it outgrew is lost: doubling bounds that by the last size.
    const grown = Math.max(bytes, 2 * (room?.bytes ?? 0));
    const address = this.#memory.allocate(grown);
    this.#rooms.set(name, { address, bytes: grown });
    return address;
  }

  #copy(name: string, values: Int32Array | Uint32Array | Float32Array): number {
    const address = this.#room(name, values.byteLength);
    const to = new Uint8Array(this.#memory.memory.buffer, address, values.byteLength);
    to.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return address;
  }

  #table(key: object, addresses: () => readonly number[]): number {
    const known = this.#tables.get(key);
    if (known !== undefined) return known;
    const values = addresses();
    const address = this.#memory.allocate(values.length * 4);
    new Uint32Array(this.#memory.memory.buffer, address, values.length).set(values);
    this.#tables.set(key, address);
    return address;
  }
}

function expertAddresses(matrices: readonly SwigluMatrices[]): number[] {
  for (const { gate, up, down } of matrices) {
    sameShape(gate, matrices[0].gate);
    sameShape(up, matrices[0].up);
    sameShape(down, matrices[0].down);
  }
  return matrices.flatMap(({ gate, up, down }) => [gate, up, down].map((m) => kernelMatrix(m).address));
}

function sameShape(a: Matrix, b: Matrix): void {
  const same =
    a.rows === b.rows && a.columns === b.columns && kernelMatrix(a).format === kernelMatrix(b).format;
  assert(same, "matrices of several shapes in one operation");
}

/** Attention goes over whole groups of 16 positions, and over whole blocks between two corrections. */
function attentionBlock(blockTokens: number): boolean {
  return blockTokens === 16 || blockTokens === 32 || blockTokens === 64;
}
