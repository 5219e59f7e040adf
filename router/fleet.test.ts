import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { anyFleet, anyRequest, backend, half, NOW_MS, request } from "../test/simulate/views.ts";
import { adopt, lastKnown, NOTHING_KNOWN, withBackends, withHealth } from "./fleet.ts";
import { begin, observe } from "./health.ts";
import { explain, place } from "./place.ts";
import type { FleetView, Outcome } from "./types.ts";

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

describe("what comes from elsewhere", () => {
  it("counts when it is newer, and never when it is older, the same or missing", () => {
    const [old, same, newer] = [{ version: 1 }, { version: 2 }, { version: 3 }];
    const known = { version: 2 };
    expect([undefined, old, same, newer].map((offered) => lastKnown(known, offered))).toEqual([
      known,
      known,
      known,
      newer,
    ]);
    expect(lastKnown(known, same)).toBe(known);
    expect(lastKnown(undefined, old)).toBe(old);
  });
});

describe("what is kept from one decision to the next", () => {
  /** The same facts in objects that nothing was ever reckoned of. */
  const anew = (fleet: FleetView): FleetView => ({
    ...fleet,
    backends: fleet.backends.map((one) => ({ ...one })),
    health: { ...fleet.health },
  });
  const outcomes: Outcome["kind"][] = ["served", "failed", "silent", "refused", "draining", "left"];

  it("changes no decision, whatever changed in between", () => {
    const steps = fc.array(
      fc.record({
        what: fc.constantFrom("load", "outcome", "begin", "health", "gone", "reordered"),
        at: fc.nat(11),
        placed: fc.nat(40),
        kind: fc.constantFrom(...outcomes),
      }),
      { maxLength: 8 },
    );
    fc.assert(
      fc.property(anyFleet, anyRequest, steps, (start, asked, changes) => {
        let fleet = start;
        for (const { what, at, placed, kind } of changes) {
          const one = fleet.backends[at % Math.max(1, fleet.backends.length)];
          if (!one) return;
          const rest = fleet.backends.filter((other) => other !== one);
          if (what === "load")
            fleet = withBackends(
              fleet,
              fleet.backends.map((other) => (other === one ? { ...one, placed } : other)),
            );
          else if (what === "gone") fleet = withBackends(fleet, rest);
          else if (what === "reordered") fleet = withBackends(fleet, [...rest, one]);
          else if (what === "outcome") fleet = observe(fleet, { backend: one.id, kind }, NOW_MS);
          else if (what === "begin") fleet = begin(fleet, one.id, NOW_MS);
          else fleet = withHealth(fleet, observe(fleet, { backend: one.id, kind }, NOW_MS).health);
          expect(explain(asked, fleet, NOW_MS, half)).toEqual(explain(asked, anew(fleet), NOW_MS, half));
        }
      }),
    );
  });

  it("knows nothing any more of one that is gone, should its name come back", () => {
    const failing = observe(
      withBackends(NOTHING_KNOWN, [backend("a"), backend("b")]),
      { backend: "a", kind: "failed" },
      NOW_MS,
    );
    const without = withBackends(failing, [failing.backends[1]!]);
    expect(withBackends(without, failing.backends).health).toEqual({});
  });
});
