import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { anyFleet, anyRequest, backend, fleetOf, health, NOW_MS, request } from "../test/simulate/views.ts";
import { EPSILON, fallback } from "./fallback.ts";

const eight = fleetOf(Array.from({ length: 8 }, (_, at) => backend(`b${at}`, { maxConcurrent: 16 })));
const chosen = (key: string, fleet = eight, placed = new Map<string, number>()) =>
  fallback(request(), fleet, key, NOW_MS, placed).map(({ decode }) => decode);

describe("the fallback", () => {
  it("chooses the same for the same key, wherever and in whatever order the view came", () => {
    const reversed = fleetOf(eight.backends.toReversed());
    for (let key = 0; key < 100; key++) expect(chosen(`req_${key}`)).toEqual(chosen(`req_${key}`, reversed));
  });

  it("moves only the keys of a backend that is gone", () => {
    const without = fleetOf(eight.backends.filter(({ id }) => id !== "b3"));
    for (let key = 0; key < 200; key++) {
      const before = chosen(`req_${key}`)[0]!;
      if (before !== "b3") expect(chosen(`req_${key}`, without)[0]).toBe(before);
    }
  });

  it("gives no backend more than its share and a quarter, and always finds one", () => {
    const weights = fc.array(fc.integer({ min: 1, max: 32 }), { minLength: 1, maxLength: 10 });
    fc.assert(
      fc.property(weights, fc.integer({ min: 1, max: 300 }), fc.nat(), (sizes, count, seed) => {
        const fleet = fleetOf(
          sizes.map((maxConcurrent, at) => backend(`b${at}`, { maxConcurrent, maxWaiting: 1e6 })),
        );
        const capacity = sizes.reduce((sum, size) => sum + size, 0);
        const placed = new Map<string, number>();
        for (let key = 0; key < count; key++) {
          const first = chosen(`${seed}.${key}`, fleet, placed)[0]!;
          placed.set(first, (placed.get(first) ?? 0) + 1);
          const share = sizes[Number(first.slice(1))]! / capacity;
          expect(placed.get(first)).toBeLessThanOrEqual(Math.ceil((1 + EPSILON) * (key + 1) * share));
        }
      }),
      { numRuns: 200, verbose: true },
    );
  });

  it("counts what the last view said, and leaves out what is dead or drained", () => {
    const key = "req_1";
    const first = chosen(key)[0]!;
    const loaded = fleetOf(eight.backends.map((one) => (one.id === first ? { ...one, placed: 20 } : one)));
    expect(chosen(key, loaded)).not.toContain(first);
    const resting = { [first]: health({ failures: 5, retryAtMs: NOW_MS + 1 }) };
    expect(chosen(key, fleetOf(eight.backends, { health: resting }))).not.toContain(first);
  });

  it("never leaves residency either", () => {
    fc.assert(
      fc.property(anyFleet, anyRequest, fc.string(), (fleet, asked, key) => {
        for (const { region } of fallback(asked, fleet, key, NOW_MS)) {
          expect(asked.residency ?? [region]).toContain(region);
        }
      }),
      { numRuns: 1_000, verbose: true },
    );
  });
});
