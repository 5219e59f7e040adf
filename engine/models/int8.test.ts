import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { fixtures, indexOfLargest, openModel } from "../../test/fixtures/engine/golden.ts";
import { openOps } from "../kernels/ops.ts";

const folder = new URL("../model", import.meta.url).pathname;

/** What quantising costs in answers, on the model that is shipped. README.md says these figures. */
it("with int8 weights says nearly what it says with f32", async () => {
  const exact = await openModel(folder, await openOps({ weights: "f32", threads: 1 }), 64);
  const rounded = await openModel(folder, await openOps({ weights: "int8", threads: 1 }), 64);
  const chats: { ids: number[] }[] = JSON.parse(readFileSync(join(fixtures, "chats.json"), "utf8"));
  const questions: { prompt: number[] }[] = JSON.parse(readFileSync(join(fixtures, "probe.json"), "utf8"));
  const prompts = [...questions.map(({ prompt }) => prompt), ...chats.map(({ ids }) => ids.slice(0, 250))];
  const sums = { squaredError: 0, squares: 0, logits: 0, tokens: 0, agreed: 0, answers: 0, same: 0 };
  const { endTokens } = exact.model.config;

  for (const prompt of prompts) {
    const sequence = exact.cache.open(400)!;
    const other = rounded.cache.open(400)!;
    let [a, b] = [exact.run(prompt, sequence), rounded.run(prompt, other)];
    let same = true;
    // Both are told what f32 says, so that each token is compared after the same beginning.
    for (let i = 0; i < 100; i++) {
      const mean = a.reduce((sum, value) => sum + value, 0) / a.length;
      for (let j = 0; j < a.length; j++) {
        sums.squaredError += (a[j] - b[j]) ** 2;
        sums.squares += (a[j] - mean) ** 2;
      }
      sums.logits += a.length;
      const token = indexOfLargest(a);
      const agrees = token === indexOfLargest(b);
      sums.tokens++;
      if (agrees) sums.agreed++;
      else same = false;
      if (endTokens.includes(token)) break;
      [a, b] = [exact.run([token], sequence), rounded.run([token], other)];
    }
    sums.answers++;
    if (same) sums.same++;
    sequence.close();
    other.close();
  }
  const error = Math.sqrt(sums.squaredError / sums.logits);
  const relative = Math.sqrt(sums.squaredError / sums.squares);
  const agreement = sums.agreed / sums.tokens;
  console.log(
    `int8 against f32, ${sums.tokens} tokens: RMS error of a logit ${error.toFixed(3)} (${(100 * relative).toFixed(1)} % ` +
      `of their spread), greedy tokens that agree ${(100 * agreement).toFixed(1)} %, ` +
      `whole answers ${sums.same} of ${sums.answers}`,
  );
  expect(relative).toBeLessThan(0.07);
  expect(agreement).toBeGreaterThan(0.985);
  exact.model.ops.close();
  rounded.model.ops.close();
});
