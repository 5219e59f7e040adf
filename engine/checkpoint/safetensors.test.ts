import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CheckpointError } from "./error.ts";
import { SafetensorsFile } from "./safetensors.ts";

let folder: string;
let path: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "safetensors-"));
  path = join(folder, "model.safetensors");
});
afterAll(() => rmSync(folder, { recursive: true }));

function fileOf(
  header: string | Uint8Array,
  data: Uint8Array = new Uint8Array(0),
  length?: bigint,
): Uint8Array {
  const text = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const prefix = new Uint8Array(8);
  new DataView(prefix.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  return Buffer.concat([prefix, text, data]);
}

/** What opening these bytes gives: the tensors' names, or the error's code. Anything but a CheckpointError fails. */
async function opened(bytes: Uint8Array): Promise<string> {
  writeFileSync(path, bytes);
  const before = process.memoryUsage().arrayBuffers;
  try {
    const file = await SafetensorsFile.open(path);
    await file.close();
    return [...file.tensors.keys()].join();
  } catch (error) {
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as CheckpointError).path).toBe(path);
    expect((error as Error).message).not.toContain("\n");
    return (error as CheckpointError).code;
  } finally {
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024);
  }
}

const valid = {
  a: { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] },
  b: { dtype: "BF16", shape: [5], data_offsets: [24, 34] },
  empty: { dtype: "U8", shape: [0, 7], data_offsets: [34, 34] },
};
const data = new Uint8Array(34);

it("opens a file whose header is true", async () => {
  expect(await opened(fileOf(JSON.stringify({ __metadata__: { format: "pt" }, ...valid }), data))).toBe(
    "a,b,empty",
  );
});

it("reads a tensor's bytes from where they lie", async () => {
  writeFileSync(
    path,
    fileOf(
      JSON.stringify(valid),
      Uint8Array.from({ length: 34 }, (_, i) => i),
    ),
  );
  const file = await SafetensorsFile.open(path);
  const bytes = new Uint8Array(4);
  await file.read(file.tensors.get("b")!, bytes);
  expect([...bytes]).toEqual([24, 25, 26, 27]);
  await file.read(file.tensors.get("b")!, bytes, 6);
  expect([...bytes]).toEqual([30, 31, 32, 33]);
  await expect(file.read(file.tensors.get("b")!, bytes, 7)).rejects.toThrow("another tensor");
  await file.close();
});

it("says that a file is missing, or is a folder", async () => {
  await expect(SafetensorsFile.open(join(folder, "nothing"))).rejects.toMatchObject({ code: "missing" });
  await expect(SafetensorsFile.open(folder)).rejects.toBeInstanceOf(CheckpointError);
});

describe("a lying header", () => {
  // Written into the JSON as they are: some of them no JavaScript number holds.
  const hostile = ["0", "1", "-1", "1.5", "2147483648", "4294967295", "9007199254740992", "9223372036854775808",
    "18446744073709551615", "1e308", "1e999", "null", '"7"', "[]", "{}", "true"]; // biome-ignore format: a table

  it("gets a typed error for every count and offset at every hostile value", async () => {
    const template = JSON.stringify(valid);
    const numbers = [...template.matchAll(/\d+(?=[\],])/g)];
    expect(numbers.length).toBe(11);
    for (const number of numbers) {
      for (const value of hostile) {
        if (value === number[0]) continue;
        const header =
          template.slice(0, number.index) + value + template.slice(number.index + number[0].length);
        const result = await opened(fileOf(header, data));
        // [0, 7] has no values whatever its other dimension says.
        if (/"shape":\[0,\d+\]/.test(header) && result === "a,b,empty") continue;
        expect(["corrupt", "truncated"], header).toContain(result);
      }
    }
  });

  it("gets a typed error for every header length", async () => {
    for (const length of [0n, 1n, 2n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
      const result = await opened(fileOf(JSON.stringify(valid), data, length));
      expect(["corrupt", "truncated", "too_large"], `${length}`).toContain(result);
    }
  });

  it("gets a typed error wherever the file is cut, and for a byte too many", async () => {
    const whole = fileOf(JSON.stringify(valid), data);
    for (let length = 0; length < whole.length; length++) {
      expect(["corrupt", "truncated"], `${length}`).toContain(await opened(whole.subarray(0, length)));
    }
    expect(await opened(Buffer.concat([whole, new Uint8Array(1)]))).toBe("corrupt");
  });

  it.each([
    ["is not JSON", "{not json"],
    ["is not UTF-8", Uint8Array.of(0x7b, 0xff, 0x7d)],
    ["is a list", "[]"],
    ["begins with a space", " {}"],
    ["nests deep", `{"a":${"[".repeat(200_000)}${"]".repeat(200_000)}}`],
    ["describes a tensor with null", '{"a":null}'],
    ["describes a tensor with a number", '{"a":7}'],
    ["gives no dtype", '{"a":{"shape":[],"data_offsets":[0,0]}}'],
    ["gives a dtype of Object's", '{"a":{"dtype":"constructor","shape":[0],"data_offsets":[0,0]}}'],
    ["has a name without end", `{"${"x".repeat(2_000)}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`],
    ["has too many dimensions", `{"a":{"dtype":"U8","shape":[${"1,".repeat(20)}0],"data_offsets":[0,0]}}`],
    [
      "multiplies dimensions past 2^64",
      '{"a":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,0]}}',
    ],
  ])("that %s is refused", async (_, header) => {
    expect(["corrupt", "unsupported"]).toContain(await opened(fileOf(header)));
  });

  it("with overlapping, gapped or hidden data is refused", async () => {
    const two = (first: [number, number], second: [number, number], bytes: number) => {
      const entry = ([begin, end]: [number, number]) => ({
        dtype: "U8",
        shape: [end - begin],
        data_offsets: [begin, end],
      });
      return opened(fileOf(JSON.stringify({ a: entry(first), b: entry(second) }), new Uint8Array(bytes)));
    };
    expect(await two([0, 4], [4, 8], 8)).toBe("a,b");
    expect(await two([4, 8], [0, 4], 8)).toBe("a,b");
    expect(await two([0, 4], [0, 4], 4)).toBe("corrupt");
    expect(await two([0, 4], [3, 8], 8)).toBe("corrupt");
    expect(await two([0, 4], [5, 8], 8)).toBe("corrupt");
    expect(await two([0, 4], [4, 8], 9)).toBe("corrupt");
    expect(await two([1, 4], [4, 8], 8)).toBe("corrupt");
  });

  it("cannot reach an object's prototype", async () => {
    const header = '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}';
    expect(await opened(fileOf(header, new Uint8Array(1)))).toBe("__proto__");
  });
});

it("names an unsupported dtype", async () => {
  writeFileSync(path, fileOf('{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}', new Uint8Array(1)));
  await expect(SafetensorsFile.open(path)).rejects.toMatchObject({
    code: "unsupported",
    message: expect.stringContaining('tensor "a" has dtype "F4"'),
  });
});
