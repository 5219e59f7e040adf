import { expect, it } from "vitest";
import { createQuarantine, isQuarantined, noteKilled } from "./quarantine.ts";

it("a prompt that two backends died of goes to no third, for a minute", () => {
  const quarantine = createQuarantine();
  noteKilled(quarantine, "acct_1", "p", "a", 0);
  noteKilled(quarantine, "acct_1", "p", "a", 1);
  expect(isQuarantined(quarantine, "acct_1", "p", 2)).toBe(false);
  noteKilled(quarantine, "acct_1", "p", "b", 3);
  expect(isQuarantined(quarantine, "acct_1", "p", 4)).toBe(true);
  expect(isQuarantined(quarantine, "acct_2", "p", 4)).toBe(false);
  expect(isQuarantined(quarantine, "acct_1", "q", 4)).toBe(false);
  expect(isQuarantined(quarantine, "acct_1", "p", 60_003)).toBe(false);
});

it("the quarantine is bounded", () => {
  const quarantine = createQuarantine();
  for (let at = 0; at < 5_000; at++) noteKilled(quarantine, "s", `p${at}`, "a", at);
  expect(quarantine.prompts.size).toBe(1_000);
});
