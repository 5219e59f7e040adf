import { describe, expect, it } from "vitest";
import { changedQuery, rangeStart, readView } from "./state.ts";

describe("the address", () => {
  it("that says nothing, or nonsense, shows the default", () => {
    const view = { range: "24h", zone: "UTC", group: "model", filters: {} };
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
