/**
 * One safetensors file: its header, checked, and the bytes of its tensors on demand.
 *
 * Format: 8 bytes little-endian header length N, N bytes of JSON (name -> dtype, shape, data_offsets), then the
 * data. Offsets count from the end of the header. Everything in the header is compared with what the file
 * really holds before any memory is taken for data, so a lying file costs at most its own header.
 * What the values mean (block scales, shapes a model expects) is left to weights.ts.
 */
import { strict as assert } from "node:assert";
import { type FileHandle, open } from "node:fs/promises";
import { CheckpointError } from "./error.ts";

/** Bits a value; only byte-sized types are read. */
const bytesPerValue = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  I64: 8,
  U64: 8,
  F64: 8,
} as const;

export type Dtype = keyof typeof bytesPerValue;

export interface TensorEntry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** First byte and byte after the last, from the start of the file. */
  readonly begin: number;
  readonly end: number;
}

/** The format's own limit; a model of 91,991 tensors (DeepSeek-V3) needs 13 MB over all shards. */
const maxHeaderBytes = 100_000_000;
const maxTensors = 1_000_000;
const maxRank = 8;
const maxNameLength = 1_024;

export class SafetensorsFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly #file: FileHandle;

  private constructor(path: string, file: FileHandle, tensors: ReadonlyMap<string, TensorEntry>) {
    this.path = path;
    this.#file = file;
    this.tensors = tensors;
  }

  /** Opens the file and checks its header. Errors: CheckpointError. The caller closes it. */
  static async open(path: string): Promise<SafetensorsFile> {
    let file: FileHandle;
    try {
      file = await open(path, "r");
    } catch (error) {
      throw new CheckpointError(
        "missing",
        path,
        `cannot be opened (${(error as NodeJS.ErrnoException).code})`,
      );
    }
    try {
      return new SafetensorsFile(path, file, await readHeader(file, path));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The bytes of one tensor from its byte `from` on, as many as `into` holds. */
  async read(entry: TensorEntry, into: Uint8Array, from = 0): Promise<void> {
    assert(from + into.length <= entry.end - entry.begin, "bytes of another tensor");
    await readFully(this.#file, this.path, into, entry.begin + from);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

async function readHeader(file: FileHandle, path: string): Promise<Map<string, TensorEntry>> {
  const status = await file.stat();
  if (!status.isFile()) throw new CheckpointError("corrupt", path, "is not a file");
  if (status.size < 8) {
    throw new CheckpointError(
      "truncated",
      path,
      `has ${status.size} bytes, a safetensors file has at least 8`,
    );
  }
  const prefix = new Uint8Array(8);
  await readFully(file, path, prefix, 0);
  const declared = new DataView(prefix.buffer).getBigUint64(0, true);
  if (declared > BigInt(maxHeaderBytes)) {
    throw new CheckpointError(
      "too_large",
      path,
      `claims a header of ${declared} bytes (limit ${maxHeaderBytes})`,
    );
  }
  const headerBytes = Number(declared);
  if (headerBytes < 2) throw new CheckpointError("corrupt", path, `claims a header of ${headerBytes} bytes`);
  if (8 + headerBytes > status.size) {
    throw new CheckpointError(
      "truncated",
      path,
      `claims a header of ${headerBytes} bytes, but the file has ${status.size} bytes in all`,
    );
  }
  const text = new Uint8Array(headerBytes);
  await readFully(file, path, text, 8);
  return parseHeader(text, path, 8 + headerBytes, status.size);
}

/**
 * The entries of a header, each checked by itself and all against the file: together they must cover the data
 * exactly, without gap or overlap, so that no byte is read twice and none is hidden.
 */
function parseHeader(
  text: Uint8Array,
  path: string,
  dataStart: number,
  fileSize: number,
): Map<string, TensorEntry> {
  if (text[0] !== 0x7b) throw new CheckpointError("corrupt", path, "its header does not begin with {");
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(text));
  } catch {
    throw new CheckpointError("corrupt", path, "its header is not JSON");
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    throw new CheckpointError("corrupt", path, "its header is not a JSON object");
  }
  const names = Object.keys(header);
  if (names.length > maxTensors) {
    throw new CheckpointError(
      "too_large",
      path,
      `its header names ${names.length} tensors (limit ${maxTensors})`,
    );
  }
  const tensors = new Map<string, TensorEntry>();
  for (const name of names) {
    if (name === "__metadata__") continue;
    const entry = parseEntry(name, (header as Record<string, unknown>)[name], path, dataStart, fileSize);
    tensors.set(name, entry);
  }
  checkCoverage([...tensors.values()], path, dataStart, fileSize);
  return tensors;
}

function parseEntry(
  name: string,
  value: unknown,
  path: string,
  dataStart: number,
  fileSize: number,
): TensorEntry {
  const shown = JSON.stringify(name.slice(0, 100));
  const corrupt = (detail: string) => new CheckpointError("corrupt", path, `tensor ${shown} ${detail}`);
  if (name.length > maxNameLength) throw corrupt("has too long a name");
  if (typeof value !== "object" || value === null) throw corrupt("has no description");
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  if (typeof dtype !== "string") throw corrupt("has no dtype");
  if (!Object.hasOwn(bytesPerValue, dtype)) {
    throw new CheckpointError(
      "unsupported",
      path,
      `tensor ${shown} has dtype ${JSON.stringify(dtype.slice(0, 40))}`,
    );
  }
  if (!Array.isArray(shape) || shape.length > maxRank || !shape.every(isCount)) {
    throw corrupt("has a shape that is not a short list of counts");
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw corrupt("has data_offsets that are not two counts");
  }
  const [begin, end] = offsets as [number, number];
  const dataBytes = fileSize - dataStart;
  if (begin > end) throw corrupt(`begins at ${begin} and ends before that, at ${end}`);
  if (end > dataBytes) {
    throw new CheckpointError(
      "truncated",
      path,
      `tensor ${shown} ends at byte ${end} of the data, but the file holds ${dataBytes}`,
    );
  }
  const expected = byteSize(shape, bytesPerValue[dtype as Dtype]);
  if (expected !== end - begin) {
    throw corrupt(
      `of shape [${shape}] and dtype ${dtype} needs ${expected} bytes, its offsets hold ${end - begin}`,
    );
  }
  return { name, dtype: dtype as Dtype, shape, begin: dataStart + begin, end: dataStart + end };
}

/** Offsets past 2^53 lose digits in JSON, so only safe integers are counts. */
function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** The product in floating point: it may lose digits, but only far above any file's size, where it never matches. */
function byteSize(shape: readonly number[], valueBytes: number): number {
  if (shape.includes(0)) return 0;
  return shape.reduce((product, dimension) => product * dimension, valueBytes);
}

function checkCoverage(entries: TensorEntry[], path: string, dataStart: number, fileSize: number): void {
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let reached = dataStart;
  for (const entry of entries) {
    if (entry.begin !== reached) {
      const what = entry.begin < reached ? "overlaps the tensor before it" : "leaves a gap before it";
      throw new CheckpointError(
        "corrupt",
        path,
        `tensor ${JSON.stringify(entry.name.slice(0, 100))} ${what}`,
      );
    }
    reached = entry.end;
  }
  if (reached !== fileSize) {
    throw new CheckpointError("corrupt", path, `holds ${fileSize - reached} bytes that no tensor names`);
  }
}

async function readFully(file: FileHandle, path: string, into: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await file.read(into, done, into.length - done, position + done);
    if (bytesRead === 0) throw new CheckpointError("truncated", path, `ends at byte ${position + done}`);
    done += bytesRead;
  }
}
