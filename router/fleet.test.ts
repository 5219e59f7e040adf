import { describe, expect, it } from "vitest";
import { backend, half, NOW_MS, request } from "../test/simulate/views.ts";
import { adopt, NOTHING_KNOWN } from "./fleet.ts";
import { observe } from "./health.ts";
import { place } from "./place.ts";

const snapshot = (version: number, ...ids: string[]) => ({ version, backends: ids.map((id) => backend(id)) });

describe("a view", () => {
  const known = adopt(NOTHING_KNOWN, snapshot(7, "a", "b"));

  it("takes a newer snapshot, and stays as it is for an older one, the same one or none", () => {
    expect(adopt(known, snapshot(8, "c")).backends.map(({ id }) => id)).toEqual(["c"]);
    expect(adopt(known, snapshot(7, "c"))).toBe(known);
    expect(adopt(known, snapshot(6, "c"))).toBe(known);
    expect(adopt(known, undefined)).toBe(known);
  });

  it("has a version that only goes up, whatever comes in what order", () => {
    let fleet = NOTHING_KNOWN;
    for (const version of [3, 1, 4, 1, 5, 9, 2, 6]) {
      const next = adopt(fleet, snapshot(version, "a"));
      expect(next.version).toBeGreaterThanOrEqual(fleet.version);
      expect(next.snapshot!).toBeGreaterThanOrEqual(fleet.snapshot ?? 0);
      fleet = observe(next, { backend: "a", kind: "served", waitedMs: 5 }, NOW_MS);
    }
  });

  it("keeps what was learnt of backends that are still there, and nothing of others", () => {
    let fleet = observe(known, { backend: "a", kind: "failed" }, NOW_MS);
    fleet = observe(fleet, { backend: "b", kind: "failed" }, NOW_MS);
    expect(Object.keys(adopt(fleet, snapshot(8, "b", "c")).health)).toEqual(["b"]);
  });

  it("that is an hour old still places", () => {
    expect(place(request(), known, NOW_MS + 3_600_000, half)).toHaveLength(2);
  });
});
