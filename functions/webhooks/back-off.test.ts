import { describe, expect, it } from "vitest";
import { DAY_MS, HOUR_MS, SECOND_MS } from "../clock.ts";
import { MAX_TRIES, nextDelay } from "./back-off.ts";

const NOW = Date.UTC(2040, 0, 1);
const delay = (tries: number, retryAfter: string | null = null, random = 0.5) =>
  nextDelay(tries, retryAfter, NOW, () => random);

describe("a delivery that failed", () => {
  it("is tried again four times as late each time, a day at most, over more than three days, and then no more", () => {
    const delays = Array.from({ length: MAX_TRIES - 1 }, (_, i) => delay(i + 1)!);
    expect(delays.slice(0, 4)).toEqual([5, 20, 80, 320].map((s) => s * SECOND_MS));
    expect(delays.at(-1)).toBe(DAY_MS);
    const sum = delays.reduce((a, b) => a + b, 0);
    expect(sum).toBeGreaterThan(3 * DAY_MS);
    expect(sum).toBeLessThan(5 * DAY_MS);
    expect(delay(MAX_TRIES)).toBeUndefined();
  });

  it("is tried up to a fifth earlier or later, so that what failed together does not come back together", () => {
    expect([delay(1, null, 0), delay(1, null, 1)]).toEqual([4 * SECOND_MS, 6 * SECOND_MS]);
  });

  it.each([
    ["60", 60 * SECOND_MS],
    ["0", 5 * SECOND_MS],
    ["1", 5 * SECOND_MS],
    ["99999999999999999999", DAY_MS],
    [new Date(NOW + HOUR_MS).toUTCString(), HOUR_MS],
    [new Date(NOW - HOUR_MS).toUTCString(), 5 * SECOND_MS],
    [new Date(NOW + 30 * DAY_MS).toUTCString(), DAY_MS],
    ["-5", 5 * SECOND_MS],
    ["soon", 5 * SECOND_MS],
    ["", 5 * SECOND_MS],
  ])(
    "waits as long as Retry-After asks, within a day and never less than its turn: %j",
    (asked, expected) => {
      expect(delay(1, asked)).toBe(expected);
    },
  );
});
