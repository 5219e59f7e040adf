import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { fixtures } from "../../test/fixtures/engine/golden.ts";
import { PlainOps } from "../layers/plain.ts";
import { Workload } from "./workload.ts";

const configJson = JSON.parse(readFileSync(join(fixtures, "grouped/config.json"), "utf8"));

it("prefills and decodes a shape with random weights, and says what that took and read", async () => {
  const settings = { stepTokens: 32, sequences: 3, sequenceTokens: 64 };
  const workload = await Workload.fromConfig(configJson, { ops: new PlainOps(), ...settings });
  const prefill = workload.prefill(3, 40);
  expect(prefill).toMatchObject({ tokens: 120, steps: 6, cacheBytes: 0 });
  const one = workload.decode(4, 1);
  expect(one).toMatchObject({ tokens: 4, steps: 4 });
  // 3 layers of 16 + 8 values.
  expect(workload.cacheBytesPerToken).toBe(3 * 24 * 4);
  expect(one.cacheBytes).toBe((41 + 42 + 43 + 44) * workload.cacheBytesPerToken);
  const all = workload.decode(4);
  expect(all.tokens).toBe(12);
  // What every token reads is counted once, so three cost less than three times one.
  expect(all.weightBytes).toBeGreaterThan(one.weightBytes);
  expect(all.weightBytes).toBeLessThan(2 * one.weightBytes);
  expect(workload.prefill(1, 64).tokens).toBe(64);
  workload.close();
});

it("has the same random weights each time", async () => {
  const settings = { stepTokens: 32, sequences: 1, sequenceTokens: 64 };
  const read = async () => {
    const ops = new PlainOps();
    const workload = await Workload.fromConfig(configJson, { ops, ...settings });
    workload.prefill(1, 16);
    const said: number[] = [];
    for (let i = 0; i < 8; i++) {
      workload.decode(1);
      said.push(...workload.lastTokens);
    }
    return said;
  };
  const said = await read();
  expect(await read()).toEqual(said);
  expect(new Set(said).size).toBeGreaterThan(1);
});
