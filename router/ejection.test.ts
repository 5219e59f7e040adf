import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { backend, fleetOf, half, NOW_MS, request } from "../test/simulate/views.ts";
import { observe } from "./health.ts";
import { place } from "./place.ts";
import { isEjected } from "./standing.ts";
import type { FleetView, Outcome } from "./types.ts";

const poolOf = (size: number) => fleetOf(Array.from({ length: size }, (_, at) => backend(`b${at}`)));
const out = (fleet: FleetView, nowMs: number) =>
  fleet.backends.filter(({ id }) => isEjected(fleet.health[id], nowMs)).map(({ id }) => id);

/** Rounds over a pool, a tenth of a second each: what each of its backends does. */
function rounds(
  fleet: FleetView,
  count: number,
  does: (id: string, round: number) => Omit<Outcome, "backend">,
) {
  let view = fleet;
  for (let round = 0; round < count; round++) {
    for (const { id } of fleet.backends) {
      view = observe(view, { backend: id, ...does(id, round) }, NOW_MS + round * 100);
    }
  }
  return { view, nowMs: NOW_MS + (count - 1) * 100 };
}

describe("a backend is ejected", () => {
  it("when it fails far more than its pool, though never often in a row", () => {
    const { view, nowMs } = rounds(poolOf(4), 20, (id, round) =>
      id === "b2" && round % 2 === 1 ? { kind: "failed", waitedMs: 1 } : { kind: "served", waitedMs: 200 },
    );
    expect(out(view, nowMs)).toEqual(["b2"]);
    expect(place(request(), view, nowMs, half).map(({ decode }) => decode)).not.toContain("b2");
  });

  it("when it is healthy by its word and yields no tokens", () => {
    const { view, nowMs } = rounds(poolOf(4), 6, (id, round) =>
      id === "b1" && round > 0 ? { kind: "silent", waitedMs: 20_000 } : { kind: "served", waitedMs: 200 },
    );
    expect(place(request(), view, nowMs, half).map(({ decode }) => decode)).not.toContain("b1");
  });

  it("when its first tokens come far later than its pool's", () => {
    const { view, nowMs } = rounds(poolOf(4), 10, (id) => ({
      kind: "served",
      waitedMs: id === "b3" ? 9_000 : 200,
    }));
    expect(out(view, nowMs)).toEqual(["b3"]);
  });

  it("for longer each time, and returns with a clean sheet", () => {
    const bad = (id: string, round: number): Omit<Outcome, "backend"> =>
      id === "b0" && round % 2 === 1 ? { kind: "failed", waitedMs: 1 } : { kind: "served", waitedMs: 200 };
    const once = rounds(poolOf(4), 20, bad);
    expect(out(once.view, NOW_MS + 10_000)).toEqual([]);
    const { ejections, served, failed } = once.view.health.b0!;
    expect(ejections).toBe(1);
    expect(served + failed).toBeLessThan(20);
  });
});

describe("nobody is ejected", () => {
  it("when the whole pool fails alike: the cause is elsewhere", () => {
    const { view, nowMs } = rounds(poolOf(6), 20, (_, round) =>
      round % 2 === 1 ? { kind: "failed", waitedMs: 1 } : { kind: "served", waitedMs: 200 },
    );
    expect(out(view, nowMs)).toEqual([]);
  });

  it("from a pool of one, or by the backends of another region or model", () => {
    const fleet = fleetOf([
      backend("b0"),
      backend("b1", { region: "eu-west" }),
      backend("b2", { region: "eu-west", model: "other" }),
    ]);
    const { view, nowMs } = rounds(fleet, 20, (id, round) =>
      id !== "b1" && round % 2 === 1 ? { kind: "failed", waitedMs: 1 } : { kind: "served", waitedMs: 200 },
    );
    expect(out(view, nowMs)).toEqual([]);
  });
});

it("at most half of a pool is out at any time, whatever happens", () => {
  const kinds = fc.constantFrom<Outcome["kind"]>("served", "served", "failed", "silent", "refused");
  const step = fc.record({
    at: fc.nat(7),
    kind: kinds,
    waitedMs: fc.nat(30_000),
    gapMs: fc.nat(400),
    times: fc.nat(8),
  });
  let ejections = 0;
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.array(step, { maxLength: 120 }), (size, steps) => {
      let fleet = poolOf(size);
      let nowMs = NOW_MS;
      for (const { at, kind, waitedMs, gapMs, times } of steps) {
        for (let count = 0; count <= times; count++) {
          nowMs += gapMs;
          fleet = observe(fleet, { backend: `b${at % size}`, kind, waitedMs }, nowMs);
          const ejected = out(fleet, nowMs).length;
          ejections += ejected;
          expect(ejected).toBeLessThanOrEqual(size / 2);
        }
      }
    }),
    { numRuns: 300, verbose: true },
  );
  expect(ejections).toBeGreaterThan(0);
});
