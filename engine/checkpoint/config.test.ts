import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PlainOps } from "../layers/plain.ts";
import { loadDeepseekV3 } from "../models/deepseek-v3-weights.ts";
import { readConfig } from "./config.ts";
import { CheckpointError } from "./error.ts";

const fixture = new URL("../../test/fixtures/engine/grouped", import.meta.url).pathname;
const fp8 = new URL("../../test/fixtures/engine/fp8", import.meta.url).pathname;
// Written into the JSON as they are: some of them no JavaScript number holds.
const hostile = ["0", "1", "-1", "0.5", "2147483648", "4294967295", "9007199254740992", "9223372036854775808",
  "18446744073709551615", "1e308", "1e999", "null", '"7"', "[]", "{}", "true"]; // biome-ignore format: a table
const original = JSON.parse(readFileSync(join(fixture, "config.json"), "utf8"));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "config-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function configWith(changes: object) {
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...original, ...changes }));
  return readConfig(folder);
}

it("reads rope parameters in the form that DeepSeek published", async () => {
  const config = await configWith({
    rope_parameters: undefined,
    rope_theta: 10_000,
    rope_scaling: {
      type: "yarn",
      factor: 40,
      beta_fast: 32,
      beta_slow: 1,
      mscale: 1,
      mscale_all_dim: 1,
      original_max_position_embeddings: 4096,
    },
  });
  expect(config.ropeTheta).toBe(10_000);
  expect(config.yarn).toMatchObject({ factor: 40, originalMaxPositions: 4096, mscale: 1, mscaleAllDim: 1 });
});

it("takes end tokens and sampling from generation_config.json before config.json", async () => {
  writeFileSync(
    join(folder, "generation_config.json"),
    '{"eos_token_id":[3,4],"temperature":0.6,"top_p":0.95}',
  );
  expect(await configWith({})).toMatchObject({
    endTokens: [3, 4],
    defaultTemperature: 0.6,
    defaultTopP: 0.95,
  });
  writeFileSync(join(folder, "generation_config.json"), '{"do_sample":false,"temperature":0.6}');
  expect(await configWith({})).toMatchObject({ endTokens: [1], defaultTemperature: 0 });
  rmSync(join(folder, "generation_config.json"));
  expect(await configWith({})).toMatchObject({ endTokens: [1], defaultTemperature: 1, defaultTopP: 1 });
});

describe("what is not supported is refused by name", () => {
  it.each([
    [{ model_type: "llama" }, 'model_type "llama"'],
    [{ hidden_act: "gelu" }, 'hidden_act "gelu"'],
    [{ scoring_func: "softmax" }, 'scoring_func "softmax"'],
    [{ topk_method: "greedy" }, 'topk_method "greedy"'],
    [{ moe_layer_freq: 2 }, "moe_layer_freq 2"],
    [{ attention_bias: true }, "attention_bias"],
    [{ num_key_value_heads: 2 }, "num_key_value_heads"],
    [{ rope_parameters: { rope_type: "llama3" } }, 'rope type "llama3"'],
    [{ qk_rope_head_dim: 7 }, "qk_rope_head_dim"],
    [{ n_group: 5 }, "n_group"],
    [{ topk_group: 5 }, "topk_group"],
    [{ num_experts_per_tok: 7 }, "num_experts_per_tok"],
    [{ quantization_config: { quant_method: "awq" } }, "awq"],
  ])("%j", async (changes, words) => {
    await expect(configWith(changes)).rejects.toMatchObject({
      name: "CheckpointError",
      code: "unsupported",
      message: expect.stringContaining(words),
    });
  });
});

describe("a damaged configuration", () => {
  it("gets an error that names the file and the field", async () => {
    await expect(readConfig(folder)).rejects.toMatchObject({
      code: "missing",
      path: join(folder, "config.json"),
    });
    writeFileSync(join(folder, "config.json"), '{"model_type":"deepseek_v3"');
    await expect(readConfig(folder)).rejects.toMatchObject({
      code: "corrupt",
      message: expect.stringContaining("not JSON"),
    });
    writeFileSync(join(folder, "config.json"), "[]");
    await expect(readConfig(folder)).rejects.toMatchObject({ code: "corrupt" });
    await expect(configWith({ hidden_size: "64" })).rejects.toThrow("hidden_size");
  });

  it("that nests deep is refused", async () => {
    const [lists, objects] = ["[".repeat(200_000), '{"a":'.repeat(200_000)];
    const whole = [`${lists}${"]".repeat(200_000)}`, `${objects}0${"}".repeat(200_000)}`];
    for (const text of [lists, objects, ...whole, ...whole.map((inner) => `{"rope_scaling":${inner}}`)]) {
      writeFileSync(join(folder, "config.json"), text);
      await expect(readConfig(folder), text.slice(0, 20)).rejects.toMatchObject({ code: "corrupt" });
    }
  });

  it("never gives anything but a typed error or a model, whatever number any field holds, nor takes memory for it", async () => {
    cpSync(fixture, folder, { recursive: true });
    const fileBytes = readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
    const text = JSON.stringify({ ...original, quantization_config: undefined });
    const numbers = [...text.matchAll(/(?<=":)-?\d[\d.e-]*(?=[,}])/g)];
    expect(numbers.length).toBeGreaterThan(30);
    let loaded = 0;
    for (const number of numbers) {
      for (const value of hostile) {
        const changed = text.slice(0, number.index) + value + text.slice(number.index + number[0].length);
        writeFileSync(join(folder, "config.json"), changed);
        const ops = new PlainOps();
        try {
          await loadDeepseekV3(folder, ops);
          loaded++;
        } catch (error) {
          expect(error, changed).toBeInstanceOf(CheckpointError);
          expect(ops.allocatedBytes, changed).toBe(0);
        }
        expect(ops.allocatedBytes).toBeLessThan(2 * fileBytes);
      }
    }
    // Some fields change nothing about the weights' shapes.
    expect(loaded).toBeGreaterThan(0);
  });

  it("gets a typed error for every block shape of fp8 scales", async () => {
    cpSync(fp8, folder, { recursive: true });
    const config = JSON.parse(readFileSync(join(fp8, "config.json"), "utf8"));
    const { quant_method, fmt } = config.quantization_config;
    for (const value of hostile) {
      for (const shape of [`[${value},128]`, `[128,${value}]`, value]) {
        const quantisation = JSON.stringify({ quant_method, fmt, weight_block_size: "X" }).replace(
          '"X"',
          shape,
        );
        const rest = JSON.stringify({ ...config, quantization_config: "X" }).replace('"X"', quantisation);
        writeFileSync(join(folder, "config.json"), rest);
        const ops = new PlainOps();
        if (value === "null" && shape === "null") continue; // the default, which this one has
        await expect(loadDeepseekV3(folder, ops), shape).rejects.toBeInstanceOf(CheckpointError);
        expect(ops.allocatedBytes).toBe(0);
      }
    }
  });
});
