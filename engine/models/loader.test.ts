import { expect, it } from "vitest";
import type { Matrix } from "../layers/ops.ts";
import { PlainOps } from "../layers/plain.ts";
import { loadDeepseekV3 } from "./deepseek-v3-weights.ts";

const folder = new URL("../model", import.meta.url).pathname;

/** Notes what array buffers the process has when weights are packed. */
class WatchedOps extends PlainOps {
  peak = 0;

  override pack(matrix: Matrix, firstRow: number, values: Float32Array): void {
    super.pack(matrix, firstRow, values);
    this.peak = Math.max(this.peak, process.memoryUsage().arrayBuffers - this.allocatedBytes);
  }
}

it("holds the weights once while it loads, and less than one tensor beside them", async () => {
  const before = process.memoryUsage().arrayBuffers;
  const ops = new WatchedOps();
  const { config, weights } = await loadDeepseekV3(folder, ops);
  const largest = config.vocabSize * config.hiddenSize * 4;
  console.log(
    `weights ${(weights.bytes / 1e6).toFixed(1)} MB, beside them at most ${((ops.peak - before) / 1e6).toFixed(1)} MB`,
  );
  expect(ops.allocatedBytes).toBe(weights.bytes);
  expect(ops.peak - before).toBeLessThan(largest);
});

it("tells how far it has come, to the last byte", async () => {
  const told: number[] = [];
  await loadDeepseekV3(folder, new PlainOps(), (read, total) => told.push(read / total));
  expect(told.length).toBeGreaterThan(100);
  expect(told).toEqual(told.toSorted((a, b) => a - b));
  expect(told.at(-1)).toBe(1);
});
