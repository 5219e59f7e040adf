import { describe, expect, it } from "vitest";
import { bucketOf, changedQuery, daysChosen, isoDay, rangeStart, readView } from "./state.ts";

describe("the address", () => {
  it("that says nothing, or nonsense, shows the default", () => {
    const view = { range: "24h", zone: "UTC", group: "model", chosen: null, compare: true, filters: {} };
    expect(readView({}, "UTC")).toEqual(view);
    expect(readView({ range: "toString", group: "x", zone: "Mars/Base" }, "UTC")).toEqual(view);
  });
  it("keeps what is not changed", () => {
    expect(changedQuery({ range: "7d", model: "a b" }, { model: null, group: "key" })).toBe(
      "?range=7d&group=key",
    );
    expect(changedQuery({ range: "7d" }, { range: null })).toBe("");
  });
});

describe("a range begins", () => {
  const now = Date.parse("2026-10-27T10:07:00Z");
  it("at whole quarter hours", () => expect(rangeStart("6h", "UTC", now)).toBe("2026-10-27T04:15:00.000Z"));
  it("at the zone's midnight, also over a change of clocks", () => {
    expect(rangeStart("7d", "Europe/Vienna", now)).toBe("2026-10-20T22:00:00.000Z");
    expect(rangeStart("7d", "Asia/Kathmandu", now)).toBe("2026-10-20T18:15:00.000Z");
  });
});

describe("moments that were chosen", () => {
  const chosen = (from: string, to: string) => readView({ from, to, range: "7d" }, "UTC").chosen;
  it("stand in the range's place when they are two, in order, and no more than a year apart", () => {
    expect(chosen("2026-10-27T10:00:00Z", "2026-10-27T11:00Z")).toEqual({
      from: "2026-10-27T10:00:00.000Z",
      to: "2026-10-27T11:00:00.000Z",
    });
    for (const [from, to] of [
      ["2026-10-27T10:00Z", "2026-10-27T10:00Z"],
      ["x", "2026-10-27T10:00Z"],
      ["2024-01-01T00:00Z", "2026-01-01T00:00Z"],
    ] as const)
      expect(chosen(from, to)).toBeNull();
  });
  it("are whole days of the zone, which may have 25 hours", () => {
    expect(daysChosen("2026-10-25", "2026-10-25", "Europe/Vienna")).toEqual({
      from: "2026-10-24T22:00:00.000Z",
      to: "2026-10-25T23:00:00.000Z",
    });
    expect(daysChosen("2026-10-26", "2026-10-25", "UTC")).toBeNull();
    expect(isoDay("2026-10-24T22:00:00.000Z", "Europe/Vienna")).toBe("2026-10-25");
  });
  it("decide how long a bar is", () => {
    const from = "2026-10-01T00:00:00Z";
    const of = (to: string) => bucketOf({ range: "7d", chosen: { from, to } });
    expect([of("2026-10-01T12:00:00Z"), of("2026-10-05T00:00:00Z"), of("2026-10-09T00:00:00Z")]).toEqual([
      "quarter_hour",
      "hour",
      "day",
    ]);
  });
});
