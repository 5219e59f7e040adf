/** A few kills in every run; test/long/ has many. */
import { expect, it } from "vitest";
import { crash } from "../support/crash.ts";

it("kill -9 of workerd under traffic makes no bill wrong", { timeout: 300_000 }, async () => {
  const seed = Number(process.env.CAUSEWAY_SEED ?? Date.now() % 1_000_000);
  console.log(`CAUSEWAY_SEED=${seed}`);
  const result = await crash({ kills: 4, workers: 4, seed });
  console.log(result);
  expect(result.findings).toEqual([]);
  expect(result.clean).toBe(true);
  expect(result.usageNanodollars).toBe(result.ledgerNanodollars);
  expect(result.ledgerNanodollars).toBeGreaterThan(0n);
  expect(result.finished).toBeGreaterThan(0);
  expect(result.billedByExpiry).toBeGreaterThan(0);
});
