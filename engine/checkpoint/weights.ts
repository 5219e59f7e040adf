/**
 * All the tensors of a checkpoint folder by name, whether it is one `model.safetensors` or shards with an index.
 * Hands out f32 arrays of the shape that the caller expects; each is read from disk when asked for, so that a
 * model is never held twice.
 */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { f32FromBf16, f32FromBytes, f32FromScaledE4m3 } from "./dequantise.ts";
import { CheckpointError } from "./error.ts";
import { SafetensorsFile, type TensorEntry } from "./safetensors.ts";

const maxIndexBytes = 64 * 1024 * 1024;
const maxShards = 10_000;

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

interface Located {
  readonly file: SafetensorsFile;
  readonly entry: TensorEntry;
}

export class Weights {
  readonly #tensors: ReadonlyMap<string, Located>;
  readonly #files: readonly SafetensorsFile[];
  readonly #blockShape: readonly [number, number];
  /** Bytes of all tensors on disk, and of those read so far: for progress lines. */
  readonly totalBytes: number;
  readBytes = 0;
  onRead: () => void = () => {};

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

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** The tensor as f32, row-major. Errors: CheckpointError where it is absent, of another shape or dtype. */
  async read(name: string, shape: readonly number[]): Promise<Float32Array<ArrayBuffer>> {
    const { file, entry } = this.#locate(name, shape);
    if (entry.dtype === "F8_E4M3") return this.#readScaled(file, entry);
    const bytes = await this.#bytes(file, entry);
    if (entry.dtype === "F32") return f32FromBytes(bytes);
    if (entry.dtype === "BF16") return f32FromBf16(bytes);
    throw new CheckpointError("unsupported", file.path, `tensor "${name}" has dtype ${entry.dtype}`);
  }

  async #readScaled(file: SafetensorsFile, entry: TensorEntry): Promise<Float32Array<ArrayBuffer>> {
    if (entry.shape.length !== 2) {
      throw new CheckpointError("unsupported", file.path, `fp8 tensor "${entry.name}" is not a matrix`);
    }
    const [rows, columns] = entry.shape as [number, number];
    const [blockRows, blockColumns] = this.#blockShape;
    const scaleShape = [Math.ceil(rows / blockRows), Math.ceil(columns / blockColumns)];
    const scales = this.#locate(`${entry.name}_scale_inv`, scaleShape);
    if (scales.entry.dtype !== "F32") {
      throw new CheckpointError(
        "unsupported",
        scales.file.path,
        `tensor "${scales.entry.name}" has dtype ${scales.entry.dtype}, block scales are read in F32`,
      );
    }
    const scaleValues = f32FromBytes(await this.#bytes(scales.file, scales.entry));
    const codes = await this.#bytes(file, entry);
    return f32FromScaledE4m3(codes, scaleValues, rows, columns, blockRows, blockColumns);
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

  async #bytes(file: SafetensorsFile, entry: TensorEntry): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = await file.bytes(entry);
    this.readBytes += bytes.byteLength;
    this.onRead();
    return bytes;
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
