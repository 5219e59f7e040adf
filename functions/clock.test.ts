import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  DAY_MS,
  iso,
  Patience,
  after as pause,
  QUARTER_HOUR_MS,
  quarterHourFrom,
  quarterHourOf,
} from "./clock.ts";

describe("quarterHourOf", () => {
  it("is the start of the quarter hour that holds the instant", () => {
    const start = Date.UTC(2026, 10, 24, 10, 45);
    expect(quarterHourOf(start)).toBe(start);
    expect(quarterHourOf(start + QUARTER_HOUR_MS - 1)).toBe(start);
    expect(quarterHourOf(start - 1)).toBe(start - QUARTER_HOUR_MS);
    expect(quarterHourOf(-1)).toBe(-QUARTER_HOUR_MS);
    expect(DAY_MS % QUARTER_HOUR_MS).toBe(0);
    expect(quarterHourFrom(start)).toBe(start);
    expect(quarterHourFrom(start + 1)).toBe(start + QUARTER_HOUR_MS);
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

  it("makes no timer where there is nothing to wait", async () => {
    const timer = vi.spyOn(globalThis, "setTimeout");
    await Promise.all([pause(0), pause(-1)]);
    expect(timer).not.toHaveBeenCalled();
    timer.mockRestore();
  });

  it("resolves when its time is over, and leaves nothing on the signal", async () => {
    const { signal } = new AbortController();
    const [added, removed] = [vi.spyOn(signal, "addEventListener"), vi.spyOn(signal, "removeEventListener")];
    await pause(1, signal);
    expect(removed.mock.calls).toEqual(added.mock.calls);
  });
});

describe("iso", () => {
  it("is ISO 8601 in UTC, and null where nothing is known", () => {
    expect(iso(Date.UTC(2026, 10, 24, 10, 45, 1, 5))).toBe("2026-11-24T10:45:01.005Z");
    expect(iso(null)).toBeNull();
  });
});

describe("Patience", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  const never = new Promise<string>(() => {});
  const comes = (ms: number) => new Promise<string>((resolve) => setTimeout(() => resolve("come"), ms));

  it("gives what comes in time, and undefined for what does not", async () => {
    const patience = new Patience();
    const early = patience.within(100, comes(99));
    await vi.advanceTimersByTimeAsync(99);
    expect(await early).toBe("come");
    const late = patience.within(100, never);
    await vi.advanceTimersByTimeAsync(100);
    expect(await late).toBeUndefined();
  });

  it("gives each wait its own time, a shorter one after a longer one too", async () => {
    const patience = new Patience();
    expect(await patience.within(1_000, Promise.resolve("at once"))).toBe("at once");
    let over: unknown = "waiting";
    void patience.within(50, never).then((value) => {
      over = value;
    });
    await vi.advanceTimersByTimeAsync(49);
    expect(over).toBe("waiting");
    await vi.advanceTimersByTimeAsync(1);
    expect(over).toBeUndefined();
  });

  it("lets a timer of an earlier wait pass by, and is late only by its own", async () => {
    const patience = new Patience();
    const first = patience.within(100, comes(90));
    await vi.advanceTimersByTimeAsync(90);
    await first;
    let over: unknown = "waiting";
    void patience.within(100, never).then((value) => {
      over = value;
    });
    await vi.advanceTimersByTimeAsync(99);
    expect(over).toBe("waiting");
    await vi.advanceTimersByTimeAsync(1);
    expect(over).toBeUndefined();
  });

  it("needs one timer for a thousand pieces that come in time, and leaves none behind", async () => {
    const patience = new Patience();
    const set = vi.spyOn(globalThis, "setTimeout");
    for (let i = 0; i < 1_000; i++) await patience.within(1_000, Promise.resolve(i));
    expect(set).toHaveBeenCalledTimes(1);
    patience.end();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("passes an error on", async () => {
    const patience = new Patience();
    await expect(patience.within(100, Promise.reject(new Error("broken")))).rejects.toThrow("broken");
    patience.end();
    expect(vi.getTimerCount()).toBe(0);
  });
});
