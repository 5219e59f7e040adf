import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { backend, fleetOf, half, NOW_MS, request } from "../test/simulate/views.ts";
import { begin, OPEN_AFTER, observe } from "./health.ts";
import { decide, place } from "./place.ts";
import { failureRate, isEjected, isResting, silentSeconds } from "./standing.ts";
import type { FleetView, Outcome } from "./types.ts";

type Step = Outcome["kind"] | { kind: Outcome["kind"]; waitedMs?: number; retryAfterMs?: number };

/** What a backend's outcomes make of the view, all at one time. */
function following(fleet: FleetView, id: string, steps: readonly Step[], nowMs: number): FleetView {
  return steps.reduce<FleetView>((view, step) => {
    const outcome = typeof step === "string" ? { kind: step } : step;
    return observe(view, { backend: id, ...outcome }, nowMs);
  }, fleet);
}

const times = (count: number, step: Step): Step[] => Array.from({ length: count }, () => step);
const ids = (fleet: FleetView, nowMs: number) =>
  place(request(), fleet, nowMs, half).map(({ decode }) => decode);
const two = fleetOf([backend("a", { region: "eu-west" }), backend("b")]);

describe("the circuit breaker", () => {
  const open = following(two, "a", times(OPEN_AFTER, { kind: "failed", waitedMs: 1 }), NOW_MS);

  it("opens after failures in a row, and any success between begins anew", () => {
    expect(ids(open, NOW_MS)).toEqual(["b"]);
    const steps = [...times(OPEN_AFTER - 1, "failed"), "served" as const, ...times(OPEN_AFTER - 1, "failed")];
    expect(isResting(following(two, "a", steps, NOW_MS).health.a, NOW_MS)).toBe(false);
  });

  it("lets one probe through when its rest is over, and no second while that one is under way", () => {
    const later = NOW_MS + 1_000;
    expect(ids(open, later).toSorted()).toEqual(["a", "b"]);
    const probed = begin(open, "a", later);
    expect(ids(probed, later + 1)).toEqual(["b"]);
    const back = following(probed, "a", ["served"], later + 50);
    expect(ids(begin(back, "a", later + 60), later + 61)).toContain("a");
  });

  it("frees the slot of a probe that ended without an answer, or was never heard of again", () => {
    const later = NOW_MS + 1_000;
    const probed = begin(open, "a", later);
    expect(ids(following(probed, "a", ["left"], later + 5), later + 6)).toContain("a");
    expect(ids(probed, later + 59_999)).toEqual(["b"]);
    expect(ids(probed, later + 60_000)).toContain("a");
  });

  it("doubles the rest with each probe that fails, up to half a minute", () => {
    let fleet = open;
    const rests: number[] = [];
    for (let round = 0; round < 8; round++) {
      const { retryAtMs, openedAtMs } = fleet.health.a!;
      rests.push(retryAtMs - openedAtMs);
      fleet = following(begin(fleet, "a", retryAtMs), "a", [{ kind: "failed", waitedMs: 1 }], retryAtMs + 1);
    }
    expect(rests).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  });

  it("does not count what was sent before it opened against the probe", () => {
    const late = following(open, "a", [{ kind: "silent", waitedMs: 5_000 }], NOW_MS + 3_000);
    expect(late.health.a!.retryAtMs).toBe(open.health.a!.retryAtMs);
    const burst = following(open, "a", times(50, { kind: "failed", waitedMs: 1 }), NOW_MS + 10);
    expect(burst.health.a!.retryAtMs).toBe(open.health.a!.retryAtMs);
  });

  it("rests longer where a failure takes long, so that probes cost callers little", () => {
    const silent = following(two, "a", times(OPEN_AFTER, { kind: "silent", waitedMs: 20_000 }), NOW_MS);
    expect(silent.health.a!.retryAtMs - NOW_MS).toBe(40_000);
  });

  it("comes back by itself: after any history there is a time from which it is a candidate again", () => {
    const kinds = fc.constantFrom<Outcome["kind"]>(
      "served",
      "failed",
      "silent",
      "refused",
      "draining",
      "left",
    );
    const history = fc.array(fc.tuple(kinds, fc.nat(60_000), fc.nat(5_000)), { maxLength: 60 });
    fc.assert(
      fc.property(history, (steps) => {
        let fleet = two;
        let nowMs = NOW_MS;
        for (const [kind, waitedMs, gapMs] of steps) {
          nowMs += gapMs;
          fleet = observe(begin(fleet, "a", nowMs), { backend: "a", kind, waitedMs }, nowMs);
        }
        const later = nowMs + 180_000;
        expect(ids(fleet, later)).toContain("a");
        expect(
          failureRate(fleet.health.a ?? following(two, "a", ["served"], nowMs).health.a!, later),
        ).toBeLessThan(0.001);
      }),
      { verbose: true },
    );
  });
});

describe("when everything is dead", () => {
  const dead = ["a", "b"].reduce((view, id) => following(view, id, times(OPEN_AFTER, "failed"), NOW_MS), two);

  it("the answer is empty, with the time of the next try", () => {
    expect(decide(request(), dead, NOW_MS, () => 0)).toEqual({
      kind: "shed",
      reason: "resting",
      retryAfterSeconds: 1,
    });
  });

  it("one attempt is made 25 ms after the last failure, one at a time", () => {
    const later = NOW_MS + 25;
    const placements = place(request(), dead, later, half);
    expect(placements).toHaveLength(1);
    const trying = begin(dead, placements[0]!.decode, later);
    expect(place(request(), trying, later + 1, half)).toEqual([]);
    expect(place(request({ lastResort: false }), dead, later, half)).toEqual([]);
  });

  it("or everything else full: capacity that came back is found", () => {
    const full = { ...dead, backends: [...two.backends, backend("c", { maxConcurrent: 1, placed: 2 })] };
    expect(place(request(), full, NOW_MS + 24, half)).toEqual([]);
    expect(place(request(), full, NOW_MS + 25, half)).toHaveLength(1);
  });

  it("there is no storm: a thousand requests a second make forty attempts", () => {
    let fleet = dead;
    let attempts = 0;
    for (let ms = 0; ms < 10_000; ms++) {
      const placement = place(request(), fleet, NOW_MS + ms, half)[0];
      if (!placement) continue;
      attempts++;
      const { decode } = placement;
      fleet = observe(
        begin(fleet, decode, NOW_MS + ms),
        { backend: decode, kind: "failed", waitedMs: 1 },
        NOW_MS + ms,
      );
    }
    expect(attempts).toBeLessThanOrEqual(410);
    expect(attempts).toBeGreaterThan(10);
  });

  it("the first that answers is back at once", () => {
    const later = NOW_MS + 25;
    const { decode } = place(request(), dead, later, half)[0]!;
    expect(ids(following(begin(dead, decode, later), decode, ["served"], later + 9), later + 10)).toEqual([
      decode,
    ]);
  });
});

describe("a failure", () => {
  it("costs as much as the slowest recent success of the model, however fast it was", () => {
    let fleet = following(two, "b", [{ kind: "served", waitedMs: 8_000 }], NOW_MS);
    fleet = following(fleet, "a", times(4, { kind: "failed", waitedMs: 1 }), NOW_MS);
    const terms = place(request(), fleet, NOW_MS, half).find(({ decode }) => decode === "a")!.terms;
    // Two failures for a success, each 8 s and three times the 4 s that 200 tokens take alone.
    expect(terms.health).toBeCloseTo(2 * (8 + 3 * 4), 6);
  });

  it("is forgiven with time", () => {
    const fleet = following(two, "a", times(4, { kind: "failed", waitedMs: 1 }), NOW_MS);
    expect(failureRate(fleet.health.a!, NOW_MS)).toBeCloseTo(4 / 6, 9);
    expect(failureRate(fleet.health.a!, NOW_MS + 60_000)).toBeLessThan(0.02);
  });

  it("is not a refusal: a busy backend comes last for as long as it says, and keeps its name", () => {
    const fleet = following(two, "b", [{ kind: "refused", retryAfterMs: 7_000 }], NOW_MS);
    const queue = (view: FleetView, nowMs: number) =>
      place(request(), view, nowMs, half).find(({ decode }) => decode === "b")!.terms.queue;
    expect(ids(fleet, NOW_MS + 6_999)).toEqual(["a", "b"]);
    expect([queue(fleet, NOW_MS), queue(fleet, NOW_MS + 7_000)]).toEqual([7, 0]);
    expect(failureRate(fleet.health.b!, NOW_MS)).toBe(0);
    const absurd = following(two, "b", [{ kind: "refused", retryAfterMs: 1e9 }], NOW_MS);
    expect(queue(absurd, NOW_MS)).toBe(30);
  });

  it("is not a drain: who says so gets nothing new for a while", () => {
    const fleet = following(two, "a", ["draining"], NOW_MS);
    expect(ids(fleet, NOW_MS + 29_999)).toEqual(["b"]);
    expect(ids(fleet, NOW_MS + 30_000)).toContain("a");
    expect(ids(following(fleet, "a", ["served"], NOW_MS + 1), NOW_MS + 2)).toContain("a");
  });
});

it("a backend that owes a token gets dearer by the second, until it speaks", () => {
  const asked = begin(two, "a", NOW_MS);
  expect(silentSeconds(asked.health.a!, NOW_MS + 900)).toBe(0);
  expect(silentSeconds(asked.health.a!, NOW_MS + 4_000)).toBe(3);
  expect(silentSeconds(begin(asked, "a", NOW_MS + 2_000).health.a!, NOW_MS + 4_000)).toBe(3);
  expect(silentSeconds(following(asked, "a", ["served"], NOW_MS + 4_000).health.a!, NOW_MS + 4_001)).toBe(0);
  expect(ids(asked, NOW_MS + 4_000)).toEqual(["b", "a"]);
});

it("a view's version goes up with every change, and never down", () => {
  const kinds = fc.constantFrom<Outcome["kind"]>("served", "failed", "silent", "refused", "draining", "left");
  fc.assert(
    fc.property(fc.array(kinds, { maxLength: 40 }), (steps) => {
      let fleet = two;
      for (const kind of steps) {
        const begun = begin(fleet, "a", NOW_MS);
        const next = observe(begun, { backend: "a", kind }, NOW_MS);
        expect(begun.version).toBeGreaterThanOrEqual(fleet.version);
        expect(next.version).toBeGreaterThan(fleet.version);
        expect(next.backends).toBe(fleet.backends);
        fleet = next;
      }
    }),
    { verbose: true },
  );
});

it("outcomes of a backend that the view does not list are learnt all the same", () => {
  const fleet = following(fleetOf([]), "a", times(OPEN_AFTER, "failed"), NOW_MS);
  expect(isResting(fleet.health.a, NOW_MS)).toBe(true);
  expect(isEjected(fleet.health.a, NOW_MS)).toBe(false);
});
