import { describe, expect, it, vi } from "vitest";
import { DAY_MS, after as pause, QUARTER_HOUR_MS, quarterHourOf } from "./clock.ts";

describe("quarterHourOf", () => {
  it("is the start of the quarter hour that holds the instant", () => {
    const start = Date.UTC(2026, 10, 24, 10, 45);
    expect(quarterHourOf(start)).toBe(start);
    expect(quarterHourOf(start + QUARTER_HOUR_MS - 1)).toBe(start);
    expect(quarterHourOf(start - 1)).toBe(start - QUARTER_HOUR_MS);
    expect(quarterHourOf(-1)).toBe(-QUARTER_HOUR_MS);
    expect(DAY_MS % QUARTER_HOUR_MS).toBe(0);
  });
});

describe("after", () => {
  it("resolves at once when its signal aborts, and when it had aborted before", async () => {
    const controller = new AbortController();
    const waiting = pause(3_600_000, controller.signal);
    controller.abort();
    await waiting;
    await pause(3_600_000, controller.signal);
  });

  it("resolves when its time is over, and leaves nothing on the signal", async () => {
    const { signal } = new AbortController();
    const [added, removed] = [vi.spyOn(signal, "addEventListener"), vi.spyOn(signal, "removeEventListener")];
    await pause(1, signal);
    expect(removed.mock.calls).toEqual(added.mock.calls);
  });
});
