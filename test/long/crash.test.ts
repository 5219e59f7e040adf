/** kill -9 of workerd at 25 random moments, with streams in flight and events not yet in D1. */
import { expect, it } from "vitest";
import { crash } from "../support/crash.ts";

it("25 kills at random moments make no bill wrong", async () => {
  const seed = Number(process.env.CAUSEWAY_SEED ?? Date.now() % 1_000_000);
  console.log(`CAUSEWAY_SEED=${seed}`);
  const result = await crash({ kills: 25, workers: 6, seed });
  console.log(result);
  expect(result.findings).toEqual([]);
  expect(result.clean).toBe(true);
  expect(result.usageNanodollars).toBe(result.ledgerNanodollars);
  expect(result.billedByExpiry).toBeGreaterThan(0);
  expect(result.pendingAtKills).toBeGreaterThan(0);
});
