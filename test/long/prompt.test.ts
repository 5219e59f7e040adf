/** A prompt of 32,768 tokens: what it takes, and that it leaves the same bits however it is cut. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { openOps } from "../../engine/kernels/ops.ts";
import { Workload } from "../../engine/models/workload.ts";

const path = new URL("../../engine/model/config.json", import.meta.url).pathname;
const config = { ...JSON.parse(readFileSync(path, "utf8")), max_position_embeddings: 65_536 };
const tokens = 32_768;

async function run(stepTokens: number) {
  const ops = await openOps({ weights: "int8", threads: 2 });
  const settings = { ops, stepTokens, sequences: 1, sequenceTokens: tokens + 16 };
  const workload = await Workload.fromConfig(config, settings);
  const prefill = workload.prefill(1, tokens);
  const decode = workload.decode(16);
  const rate = (1000 * tokens) / prefill.milliseconds;
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);
  console.log(
    `${tokens} tokens in steps of ${stepTokens}, ${ops.variant}: ${(prefill.milliseconds / 1000).toFixed(1)} s ` +
      `(${rate.toFixed(0)} tokens/s); cache ${megabytes(tokens * workload.cacheBytesPerToken)} MB, weights ` +
      `${megabytes(workload.weightBytes)} MB, all ${megabytes(ops.allocatedBytes)} MB`,
  );
  expect(prefill.tokens).toBe(tokens);
  expect(decode.tokens).toBe(16);
  const last = workload.lastTokens;
  workload.close();
  return last;
}

it("is computed, to the same answer in steps of 512 and of 200", async () => {
  expect(await run(512)).toEqual(await run(200));
});
