/**
 * All the tensors of a checkpoint folder by name, whether it is one `model.safetensors` or shards with an index.
 * Values are handed out as f32 a band of rows at a time, in buffers that the next band overwrites: who wants to keep
 * them packs them, so a model is never held twice.
 */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { type BlockScales, f32FromBf16, f32FromBytes, f32FromScaledE4m3 } from "./dequantise.ts";
import { CheckpointError } from "./error.ts";
import { type Dtype, SafetensorsFile, type TensorEntry } from "./safetensors.ts";
import type { WeightSource } from "./source.ts";

const maxIndexBytes = 64 * 1024 * 1024;
const maxShards = 10_000;
/** What is read at once. */
const bandBytes = 1024 * 1024;

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

const weightBytes: Partial<Record<Dtype, number>> = { F8_E4M3: 1, BF16: 2, F32: 4 };

interface Located {
  readonly file: SafetensorsFile;
  readonly entry: TensorEntry;
}

export class Weights implements WeightSource {
  readonly #tensors: ReadonlyMap<string, Located>;
  readonly #files: readonly SafetensorsFile[];
  readonly #blockShape: readonly [number, number];
  /** Bytes of all tensors on disk, and of those read so far: for progress lines. */
  readonly totalBytes: number;
  readBytes = 0;
  onRead: () => void = () => {};
  /** What was read, and its values: reused from band to band. */
  #stored = new Uint8Array(0);
  #values = new Float32Array(0);

  private constructor(
    files: readonly SafetensorsFile[],
    tensors: ReadonlyMap<string, Located>,
    blockShape: readonly [number, number],
  ) {
    this.#files = files;
    this.#tensors = tensors;
    this.#blockShape = blockShape;
    let total = 0;
    for (const { entry } of tensors.values()) total += entry.end - entry.begin;
    this.totalBytes = total;
  }

  /** blockShape: rows and columns that share one scale in fp8 weights. Errors: CheckpointError. */
  static async open(folder: string, blockShape: readonly [number, number]): Promise<Weights> {
    const files: SafetensorsFile[] = [];
    try {
      const tensors = await locate(folder, files);
      return new Weights(files, tensors, blockShape);
    } catch (error) {
      for (const file of files) await file.close();
      throw error;
    }
  }

  /** Errors: CheckpointError where the tensor is absent, or of a shape or dtype that cannot be read as asked. */
  expect(name: string, shape: readonly number[]): void {
    const { file, entry } = this.#locate(name, shape);
    if (!weightBytes[entry.dtype]) {
      throw new CheckpointError("unsupported", file.path, `tensor "${name}" has dtype ${entry.dtype}`);
    }
    if (entry.dtype === "F8_E4M3") this.#scalesOf(file, entry);
  }

  async vector(name: string, length: number): Promise<Float32Array> {
    const values = new Float32Array(length);
    await this.#bands(name, [length], length, 1, length, (_, band) => values.set(band));
    return values;
  }

  async rows(
    name: string,
    shape: readonly [rows: number, columns: number],
    each: (firstRow: number, values: Float32Array) => void,
    rowsPerBand?: number,
  ): Promise<void> {
    const [rows, columns] = shape;
    // A multiple of 32 rows, as Ops.pack wants them.
    const fitting = 32 * Math.max(1, Math.floor(bandBytes / columns / 4 / 32));
    await this.#bands(name, shape, rows, columns, rowsPerBand ?? fitting, each);
  }

  async #bands(
    name: string,
    shape: readonly number[],
    rows: number,
    columns: number,
    rowsPerBand: number,
    each: (firstRow: number, values: Float32Array) => void,
  ): Promise<void> {
    this.expect(name, shape);
    const { file, entry } = this.#locate(name, shape);
    const valueBytes = weightBytes[entry.dtype]!;
    const scales = entry.dtype === "F8_E4M3" ? await this.#readScales(file, entry) : undefined;
    for (let row = 0; row < rows; row += rowsPerBand) {
      const count = Math.min(rowsPerBand, rows - row) * columns;
      if (this.#stored.length < count * valueBytes) this.#stored = new Uint8Array(count * valueBytes);
      const stored = this.#stored.subarray(0, count * valueBytes);
      await file.read(entry, stored, row * columns * valueBytes);
      this.#count(stored.length);
      each(
        row,
        entry.dtype === "F32" ? f32FromBytes(stored) : this.#decode(stored, count, scales, row, columns),
      );
    }
  }

  /** fp8 where there are scales, else bf16. */
  #decode(
    stored: Uint8Array<ArrayBuffer>,
    count: number,
    scales: BlockScales | undefined,
    firstRow: number,
    columns: number,
  ): Float32Array {
    if (this.#values.length < count) this.#values = new Float32Array(count);
    const values = this.#values.subarray(0, count);
    if (scales) f32FromScaledE4m3(values, stored, scales, firstRow, columns);
    else f32FromBf16(values, stored);
    return values;
  }

  #scalesOf(file: SafetensorsFile, entry: TensorEntry): Located {
    if (entry.shape.length !== 2) {
      throw new CheckpointError("unsupported", file.path, `fp8 tensor "${entry.name}" is not a matrix`);
    }
    const shape = entry.shape.map((dimension, i) => Math.ceil(dimension / this.#blockShape[i]));
    const scales = this.#locate(`${entry.name}_scale_inv`, shape);
    if (scales.entry.dtype !== "F32") {
      throw new CheckpointError(
        "unsupported",
        scales.file.path,
        `tensor "${scales.entry.name}" has dtype ${scales.entry.dtype}, block scales are read in F32`,
      );
    }
    return scales;
  }

  async #readScales(file: SafetensorsFile, entry: TensorEntry): Promise<BlockScales> {
    const scales = this.#scalesOf(file, entry);
    const bytes = new Uint8Array(scales.entry.end - scales.entry.begin);
    await scales.file.read(scales.entry, bytes);
    this.#count(bytes.length);
    const [blockRows, blockColumns] = this.#blockShape;
    return { values: f32FromBytes(bytes), blockRows, blockColumns };
  }

  async close(): Promise<void> {
    for (const file of this.#files) await file.close();
  }

  #locate(name: string, shape: readonly number[]): Located {
    const located = this.#tensors.get(name);
    if (!located) throw new CheckpointError("corrupt", this.#files[0].path, `has no tensor "${name}"`);
    const { file, entry } = located;
    if (entry.shape.length !== shape.length || !entry.shape.every((dimension, i) => dimension === shape[i])) {
      throw new CheckpointError(
        "corrupt",
        file.path,
        `tensor "${name}" has shape [${entry.shape}], the configuration asks for [${shape}]`,
      );
    }
    return located;
  }

  #count(bytes: number): void {
    this.readBytes += bytes;
    this.onRead();
  }
}

async function locate(folder: string, files: SafetensorsFile[]): Promise<Map<string, Located>> {
  const indexPath = join(folder, "model.safetensors.index.json");
  const tensors = new Map<string, Located>();
  const index = await readIndex(indexPath);
  if (!index) {
    const file = await SafetensorsFile.open(join(folder, "model.safetensors"));
    files.push(file);
    for (const entry of file.tensors.values()) tensors.set(entry.name, { file, entry });
    return tensors;
  }
  const shards = new Map<string, SafetensorsFile>();
  for (const [name, shard] of index) {
    let file = shards.get(shard);
    if (!file) {
      if (shards.size === maxShards)
        throw new CheckpointError("too_large", indexPath, "names too many shards");
      file = await SafetensorsFile.open(join(folder, shard));
      shards.set(shard, file);
      files.push(file);
    }
    const entry = file.tensors.get(name);
    if (!entry)
      throw new CheckpointError("corrupt", file.path, `has no tensor "${name}", which the index puts there`);
    tensors.set(name, { file, entry });
  }
  return tensors;
}

/** Tensor name and shard name, or nothing where the folder has no index. */
async function readIndex(path: string): Promise<[string, string][] | undefined> {
  const status = await stat(path).catch(() => undefined);
  if (!status) return undefined;
  if (status.size > maxIndexBytes) throw new CheckpointError("too_large", path, `has ${status.size} bytes`);
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, "utf8"));
  } catch {
    throw new CheckpointError("corrupt", path, "is not JSON");
  }
  const index = indexSchema.safeParse(json);
  if (!index.success) throw new CheckpointError("corrupt", path, "has no weight_map of names to files");
  const entries = Object.entries(index.data.weight_map);
  if (entries.length === 0) throw new CheckpointError("corrupt", path, "has an empty weight_map");
  for (const [, shard] of entries) {
    // A shard lies in the folder itself: an index must not make us read elsewhere.
    if (!/^[A-Za-z0-9_][A-Za-z0-9._-]{0,200}\.safetensors$/.test(shard)) {
      throw new CheckpointError("corrupt", path, `names the shard ${JSON.stringify(shard.slice(0, 100))}`);
    }
  }
  return entries;
}
