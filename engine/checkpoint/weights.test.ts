import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { f32FromBytes } from "./dequantise.ts";
import { CheckpointError } from "./error.ts";
import { SafetensorsFile } from "./safetensors.ts";
import { Weights } from "./weights.ts";

// Stored by torch, and read back by torch, with test/fixtures/engine/make.py.
const fixtures = new URL("../../test/fixtures/engine/", import.meta.url).pathname;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "weights-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function expected(name: string): Promise<Float32Array> {
  const file = await SafetensorsFile.open(join(fixtures, "dtypes-expected.safetensors"));
  const entry = file.tensors.get(name)!;
  const bytes = new Uint8Array(entry.end - entry.begin);
  await file.read(entry, bytes);
  await file.close();
  return f32FromBytes(bytes);
}

/** All the values of a vector, or of a matrix whose bands have so many rows. */
async function valuesOf(weights: Weights, name: string, shape: number[], rowsPerBand?: number) {
  if (shape.length === 1) return weights.vector(name, shape[0]);
  const [rows, columns] = shape as [number, number];
  const values = new Float32Array(rows * columns);
  await weights.rows(name, [rows, columns], (row, band) => values.set(band, row * columns), rowsPerBand);
  return values;
}

async function read(
  name: string,
  shape: number[],
  blockShape: [number, number] = [128, 128],
  rowsPerBand?: number,
): Promise<Float32Array> {
  copyFileSync(join(fixtures, "dtypes.safetensors"), join(folder, "model.safetensors"));
  const weights = await Weights.open(folder, blockShape);
  try {
    return await valuesOf(weights, name, shape, rowsPerBand);
  } finally {
    await weights.close();
  }
}

describe("values that torch wrote", () => {
  it("are the same for each of the 256 e4m3 codes", async () => {
    expect(await read("codes.weight", [16, 16])).toEqual(await expected("codes"));
  });

  it("are the same for fp8 in blocks that do not divide the matrix", async () => {
    expect(await read("large.weight", [130, 140])).toEqual(await expected("large"));
    expect(await read("small.weight", [40, 70], [16, 32])).toEqual(await expected("small"));
  });

  it.each([1, 7, 32, 50])("are the same for fp8 in bands of %i rows", async (rows) => {
    expect(await read("small.weight", [40, 70], [16, 32], rows)).toEqual(await expected("small"));
    expect(await read("large.weight", [130, 140], [128, 128], rows)).toEqual(await expected("large"));
  });

  it("are the same for bf16, with zeros, subnormals and infinity", async () => {
    expect(await read("halves", [66])).toEqual(await expected("halves"));
  });
});

describe("a tensor", () => {
  it("that is absent, or of another shape, is named", async () => {
    await expect(read("nothing", [1])).rejects.toThrow('has no tensor "nothing"');
    await expect(read("halves", [6, 11])).rejects.toThrow(
      '"halves" has shape [66], the configuration asks for [6,11]',
    );
  });

  it("in fp8 whose scales have another block shape is refused", async () => {
    await expect(read("small.weight", [40, 70], [128, 128])).rejects.toThrow("small.weight_scale_inv");
  });
});

describe("a folder with an index", () => {
  const index = (weightMap: unknown) =>
    writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify({ weight_map: weightMap }));

  it("reads each tensor from the shard that the index names", async () => {
    copyFileSync(join(fixtures, "dtypes.safetensors"), join(folder, "one.safetensors"));
    copyFileSync(join(fixtures, "dtypes-expected.safetensors"), join(folder, "two.safetensors"));
    index({ halves: "one.safetensors", codes: "two.safetensors" });
    const weights = await Weights.open(folder, [128, 128]);
    expect(await valuesOf(weights, "halves", [66])).toEqual(await expected("halves"));
    expect(await valuesOf(weights, "codes", [16, 16])).toEqual(await expected("codes"));
    await weights.close();
  });

  it.each(["../one.safetensors", "/etc/passwd", "a/b.safetensors", ".hidden.safetensors", "one.bin", ""])(
    "does not read the shard %j",
    async (shard) => {
      index({ halves: shard });
      await expect(Weights.open(folder, [128, 128])).rejects.toThrow("names the shard");
    },
  );

  it("says which shard is missing, or lacks a tensor", async () => {
    index({ halves: "one.safetensors" });
    await expect(Weights.open(folder, [128, 128])).rejects.toMatchObject({ code: "missing" });
    copyFileSync(join(fixtures, "dtypes-expected.safetensors"), join(folder, "one.safetensors"));
    index({ nothing: "one.safetensors" });
    await expect(Weights.open(folder, [128, 128])).rejects.toThrow('has no tensor "nothing"');
  });

  it.each([
    "not json",
    "[]",
    "{}",
    '{"weight_map":{}}',
    '{"weight_map":{"a":7}}',
    '{"weight_map":["one.safetensors"]}',
    '{"weight_map":{"a":{"b":"one.safetensors"}}}',
    "[".repeat(200_000),
    `{"weight_map":${'{"a":'.repeat(200_000)}0${"}".repeat(200_000)}}`,
    `{"weight_map":{"a":${"[".repeat(200_000)}${"]".repeat(200_000)}}}`,
  ])("refuses the index %.60j", async (text) => {
    writeFileSync(join(folder, "model.safetensors.index.json"), text);
    await expect(Weights.open(folder, [128, 128])).rejects.toMatchObject({ code: "corrupt" });
  });

  it("believes no number of its metadata, and no name that is Object's", async () => {
    copyFileSync(join(fixtures, "dtypes.safetensors"), join(folder, "one.safetensors"));
    for (const size of [
      "0",
      "1",
      "2147483648",
      "4294967295",
      "9007199254740992",
      "18446744073709551615",
      "-1",
    ]) {
      const text = `{"metadata":{"total_size":${size}},"weight_map":{"halves":"one.safetensors"}}`;
      writeFileSync(join(folder, "model.safetensors.index.json"), text);
      const weights = await Weights.open(folder, [128, 128]);
      expect(weights.totalBytes).toBe(132);
      expect(() => weights.expect("constructor", [66])).toThrow("has no tensor");
      await weights.close();
    }
    const text = '{"weight_map":{"__proto__":"one.safetensors","toString":"one.safetensors"}}';
    writeFileSync(join(folder, "model.safetensors.index.json"), text);
    await expect(Weights.open(folder, [128, 128])).rejects.toBeInstanceOf(CheckpointError);
  });
});
