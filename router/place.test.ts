import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  anyFleet,
  anyRequest,
  backend,
  fleetOf,
  half,
  health,
  NOW_MS,
  request,
} from "../test/simulate/views.ts";
import { decide, explain, place } from "./place.ts";
import { createPrefixIndex, insertPrefix } from "./prefix.ts";
import { createSessions, rememberSession } from "./sessions.ts";
import type { FleetView, RouteRequest } from "./types.ts";

const ids = (asked: RouteRequest, fleet: FleetView) =>
  place(asked, fleet, NOW_MS, half).map(({ decode }) => decode);

describe("counts that are old", () => {
  const fleet = (loadAgeMs: number): FleetView => ({
    ...fleetOf([
      backend("near", { placed: 4, running: 4 }),
      backend("far", { placed: 0, distanceMs: 30_000 }),
    ]),
    loadAgeMs,
  });
  const worst = () => 0.999;
  const tieOf = (ageMs: number) => place(request(), fleet(ageMs), NOW_MS, worst)[0]!.terms.tie;

  it("leave something to chance, the more the older they are", () => {
    expect(tieOf(0)).toBeLessThanOrEqual(0.001);
    expect(tieOf(1_000)).toBeGreaterThan(tieOf(500));
  });

  it("of the last busy hour do not send the first request after a quiet one around the world", () => {
    expect(ids(request(), fleet(3_600_000))).toEqual(["near", "far"]);
    expect(tieOf(3_600_000)).toBe(tieOf(5_000));
  });
});

describe("the candidates", () => {
  it("are never outside of residency, whatever preferences say and whatever is down", () => {
    fc.assert(
      fc.property(anyFleet, anyRequest, fc.nat(), (fleet, asked, seed) => {
        const placements = place(asked, fleet, NOW_MS, () => (seed % 97) / 97);
        for (const { region } of placements) expect(asked.residency ?? [region]).toContain(region);
      }),
      { numRuns: 3_000, verbose: true },
    );
  });

  it("are active, able, not tried and wished for, in every ranking", () => {
    fc.assert(
      fc.property(anyFleet, anyRequest, (fleet, asked) => {
        for (const { decode } of place(asked, fleet, NOW_MS, half)) {
          const chosen = fleet.backends.find(({ id }) => id === decode)!;
          const { only, ignore, order, region, allow_fallbacks } = asked.preferences;
          const names = [chosen.id, chosen.region];
          expect(chosen.state).toBe("active");
          expect(asked.exclude).not.toContain(decode);
          expect(chosen.region).toBe(region ?? chosen.region);
          expect(asked.promptTokens + asked.maxOutput).toBeLessThanOrEqual(chosen.contextLength ?? Infinity);
          expect(asked.tools === true && chosen.tools === false).toBe(false);
          if (only) expect(names.some((name) => only.includes(name))).toBe(true);
          if (ignore) expect(names.some((name) => ignore.includes(name))).toBe(false);
          if (order && allow_fallbacks === false)
            expect(names.some((name) => order.includes(name))).toBe(true);
          expect((fleet.health[decode]?.drainingUntilMs ?? 0) > NOW_MS).toBe(false);
        }
      }),
      { numRuns: 3_000, verbose: true },
    );
  });

  it("are each either placed or turned down for a reason", () => {
    fc.assert(
      fc.property(anyFleet, anyRequest, (fleet, asked) => {
        const { decision, turnedDown } = explain(asked, fleet, NOW_MS, half);
        const down = new Set(turnedDown.map((one) => one.backend));
        if (decision.kind !== "placed") expect(down.size).toBe(fleet.backends.length);
        else if (asked.preferences.allow_fallbacks !== false && fleet.backends.length <= 10) {
          const placed = decision.placements.filter(({ decode }) => !down.has(decode));
          // A last resort is both: it was turned down for resting, and is tried since all were.
          if (placed.length > 0) expect(placed.length + down.size).toBe(fleet.backends.length);
        }
      }),
      { numRuns: 2_000, verbose: true },
    );
  });

  it("of another model are none of this one's", () => {
    expect(ids(request(), fleetOf([backend("a", { model: "other" }), backend("b")]))).toEqual(["b"]);
  });

  it("must hold the prompt that is expected and the output that may come", () => {
    const fleet = fleetOf([backend("small", { contextLength: 4_000 }), backend("large", { distanceMs: 90 })]);
    expect(ids(request({ promptTokens: 3_900 }), fleet)).toEqual(["large"]);
    expect(ids(request({ promptTokens: 3_900, expectedPromptTokens: 1_000 }), fleet)).toEqual([
      "small",
      "large",
    ]);
  });
});

describe("the cost", () => {
  it("is the sum of its terms, all of them finite and none below zero", () => {
    fc.assert(
      fc.property(anyFleet, anyRequest, (fleet, asked) => {
        for (const { cost, terms } of place(asked, fleet, NOW_MS, half)) {
          const values = Object.values(terms);
          for (const value of values) expect(value).toBeGreaterThanOrEqual(0);
          expect(cost).toBeCloseTo(
            values.reduce((sum, value) => sum + value, 0),
            9,
          );
        }
      }),
      { numRuns: 2_000, verbose: true },
    );
  });

  it("ranks the ten best as sorting all would", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(400), { minLength: 1, maxLength: 60 }), (distances) => {
        const fleet = fleetOf(
          distances.map((distanceMs, at) => backend(`b${at}`, { distanceMs: distanceMs * 10 })),
        );
        const costs = place(request(), fleet, NOW_MS, half).map(({ terms }) => terms.distance);
        const sorted = distances.toSorted((a, b) => a - b).slice(0, 10);
        expect(costs).toEqual(sorted.map((distance) => distance / 100));
      }),
      { verbose: true },
    );
  });

  const only = (more: Parameters<typeof backend>[1], asked = request()) =>
    place(asked, fleetOf([backend("a", more)]), NOW_MS, half)[0]!.terms;
  const measured = { prefillTokensPerSecond: 1_000, decodeTokensPerSecond: 50, maxConcurrent: 8 };

  it("names the distance, the uncached prompt and the output at their rates", () => {
    const terms = only({ ...measured, distanceMs: 40 });
    expect(terms).toMatchObject({ distance: 0.04, queue: 0, prefill: 1, decode: 4, slowing: 0, price: 0 });
  });

  it("names how what runs there slows it, and how it slows what runs there", () => {
    const terms = only({ ...measured, placed: 4 });
    expect(terms).toMatchObject({ queue: 0, decode: 6, slowing: 2 });
  });

  it("names the queue: the places that must become free and the prompts that come before", () => {
    // Two wait; an answer of 256 tokens takes 256 / 50 x 2 s with eight running, so one place is free each 1.28 s.
    const terms = only({ ...measured, placed: 10, pendingPrefillTokens: 500 });
    expect(terms.queue).toBeCloseTo(3 * 1.28 + 0.5, 9);
  });

  it("counts what the pool placed or what the server says, whichever is more", () => {
    expect(only({ ...measured, placed: 1, running: 4 }).decode).toBe(6);
    expect(only({ ...measured, placed: 4, running: 1 }).decode).toBe(6);
  });

  it("names the price at the exchange rate", () => {
    const price = { input: 1, cachedInput: 0.1, output: 2 };
    expect(only({ price }).price).toBeCloseTo(((1_000 * 1 + 200 * 2) / 1e6) * 1_000, 9);
  });

  it("names the danger of a cache that is nearly full", () => {
    expect(only({ ...measured, cacheUsage: 0.9 }).memory).toBe(0);
    expect(only({ ...measured, cacheUsage: 0.95 }).memory).toBeCloseTo(0.5, 9);
  });

  it("assumes the chip that a simulated region plays", () => {
    expect(only({ chip: "cpu", plays: "gpu" }).prefill).toBe(only({ chip: "gpu" }).prefill);
    expect(only({ chip: "cpu" }).prefill).toBeGreaterThan(only({ chip: "npu" }).prefill!);
  });

  it("lets chance choose among equals", () => {
    const fleet = fleetOf([backend("a"), backend("b")]);
    let draws = 0;
    const alternating = () => (draws++ % 2 === 0 ? 0.9 : 0.1);
    expect(place(request(), fleet, NOW_MS, alternating)[0]!.decode).toBe("b");
  });
});

describe("preferences", () => {
  const fleet = fleetOf([
    backend("near", { distanceMs: 5, price: { input: 2, cachedInput: 1, output: 4 } }),
    backend("far", { name: "Far One", region: "eu-west", distanceMs: 200, decodeTokensPerSecond: 90 }),
    backend("cheap", { region: "ap-east", distanceMs: 100, chip: "npu" }),
  ]);

  it("order comes first, by id, name or region, and the others follow", () => {
    const preferences = { order: ["Far One", "ap-east"] };
    expect(ids(request({ preferences }), fleet)).toEqual(["far", "cheap", "near"]);
  });

  it("allow_fallbacks false keeps to the order, or to the best alone", () => {
    expect(ids(request({ preferences: { order: ["far"], allow_fallbacks: false } }), fleet)).toEqual(["far"]);
    expect(ids(request({ preferences: { allow_fallbacks: false } }), fleet)).toHaveLength(1);
  });

  it("only, ignore and region leave out", () => {
    expect(ids(request({ preferences: { only: ["eu-west", "cheap"] } }), fleet).toSorted()).toEqual([
      "cheap",
      "far",
    ]);
    expect(ids(request({ preferences: { ignore: ["near", "eu-west"] } }), fleet)).toEqual(["cheap"]);
    expect(ids(request({ preferences: { region: "eu-west" } }), fleet)).toEqual(["far"]);
  });

  it("names are compared whole", () => {
    const numbered = fleetOf([backend("b1"), backend("b12")]);
    expect(ids(request({ preferences: { only: ["b1"] } }), numbered)).toEqual(["b1"]);
  });

  it("sort ranks by one matter", () => {
    expect(ids(request({ preferences: { sort: "throughput" } }), fleet)[0]).toBe("far");
    expect(ids(request({ preferences: { sort: "latency" } }), fleet)[0]).toBe("near");
    expect(ids(request({ preferences: { sort: "price" } }), fleet).at(-1)).toBe("near");
  });
});

describe("a conversation's second turn", () => {
  const blocks = Array.from({ length: 40 }, (_, at) => `block ${at}`);
  const turn = request({ promptTokens: 41 * 128, blocks, blockTokens: 128 });
  const rates = { prefillTokensPerSecond: 2_000, decodeTokensPerSecond: 50, maxConcurrent: 8 };
  const both = [backend("cold", { ...rates, distanceMs: 10 }), backend("warm", { ...rates, distanceMs: 60 })];
  const prefixes = createPrefixIndex();
  insertPrefix(prefixes, "acct_1", blocks, "warm");

  it("goes where its cache is, and the terms say why", () => {
    const [first, second] = place(turn, fleetOf(both, { prefixes }), NOW_MS, half);
    expect(first).toMatchObject({ decode: "warm", cachedTokens: 40 * 128 });
    expect(second).toMatchObject({ decode: "cold", cachedTokens: 0 });
    expect(second!.terms.prefill! - first!.terms.prefill!).toBeCloseTo((40 * 128) / 2_000, 9);
    expect(first!.terms.distance).toBeGreaterThan(second!.terms.distance!);
  });

  it("goes elsewhere when waiting there is worse, and the terms say why", () => {
    const busy = [both[0]!, { ...both[1]!, placed: 12 }];
    const [first, second] = place(turn, fleetOf(busy, { prefixes }), NOW_MS, half);
    expect([first!.decode, second!.decode]).toEqual(["cold", "warm"]);
    expect(second!.terms.queue).toBeGreaterThan(first!.terms.prefill! - second!.terms.prefill!);
  });

  it("finds no other account's cache", () => {
    const other = place({ ...turn, salt: "acct_2" }, fleetOf(both, { prefixes }), NOW_MS, half);
    expect(other.map(({ cachedTokens }) => cachedTokens)).toEqual([0, 0]);
  });

  it("follows its session where no index knows, and never to a dead, drained or disabled backend", () => {
    const sessions = createSessions();
    rememberSession(sessions, "acct_1", "session-1", "warm");
    const asked = { ...turn, session: "session-1" };
    expect(ids(asked, fleetOf(both, { sessions }))[0]).toBe("warm");
    expect(ids({ ...asked, session: "session-12" }, fleetOf(both, { sessions }))[0]).toBe("cold");
    expect(ids({ ...asked, salt: "acct_2" }, fleetOf(both, { sessions }))[0]).toBe("cold");
    const dead = { warm: health({ failures: 5, retryAtMs: NOW_MS + 1_000 }) };
    expect(ids(asked, fleetOf(both, { sessions, health: dead }))).toEqual(["cold"]);
    const draining = { warm: health({ drainingUntilMs: NOW_MS + 1_000 }) };
    expect(ids(asked, fleetOf(both, { sessions, health: draining }))).toEqual(["cold"]);
    expect(ids(asked, fleetOf([both[0]!, { ...both[1]!, state: "draining" }], { sessions }))).toEqual([
      "cold",
    ]);
    expect(ids(asked, fleetOf([both[0]!], { sessions }))).toEqual(["cold"]);
  });
});

describe("with nothing to place it on", () => {
  const limits = { maxConcurrent: 4, maxWaiting: 2, decodeTokensPerSecond: 50 };

  it("a full fleet sheds, and says when a place will be free", () => {
    const fleet = fleetOf([backend("a", { ...limits, placed: 6 }), backend("b", { ...limits, placed: 9 })]);
    const decision = decide(request(), fleet, NOW_MS, () => 0);
    // One place is free each 256 / 50 x 2 / 4 = 2.56 s.
    expect(decision).toEqual({ kind: "shed", reason: "busy", retryAfterSeconds: 3 });
  });

  it("those who are refused together are told different times", () => {
    const fleet = fleetOf([backend("a", { ...limits, placed: 20 })]);
    const said = [0, 0.5, 0.99].map((chance) => decide(request(), fleet, NOW_MS, () => chance));
    expect(new Set(said.map((one) => one.kind === "shed" && one.retryAfterSeconds)).size).toBe(3);
  });

  it("a backend that said it is busy has a queue of as long as it said", () => {
    const fleet = fleetOf([backend("a"), backend("b", { distanceMs: 200 })], {
      health: { a: health({ busyUntilMs: NOW_MS + 7_000 }) },
    });
    const [first, second] = place(request(), fleet, NOW_MS, half);
    expect([first!.decode, second!.decode]).toEqual(["b", "a"]);
    expect(second!.terms.queue).toBe(7);
    const hurried = decide(request({ budgetMs: 5_000, exclude: ["b"] }), fleet, NOW_MS, () => 0);
    expect(hurried).toMatchObject({ kind: "shed", reason: "busy", retryAfterSeconds: 3 });
  });

  it("a queue that lasts longer than the caller is a full one", () => {
    const fleet = fleetOf([backend("a", { prefillTokensPerSecond: 100, pendingPrefillTokens: 5_000 })]);
    const decision = decide(request({ budgetMs: 20_000 }), fleet, NOW_MS, () => 0);
    expect(decision).toMatchObject({ kind: "shed", reason: "busy", retryAfterSeconds: 41 });
  });

  it("what no waiting changes is told apart", () => {
    const fleet = fleetOf([backend("a", { contextLength: 100 })]);
    expect(decide(request(), fleet, NOW_MS, half)).toEqual({ kind: "impossible", reason: "context" });
    expect(decide(request({ model: "none" }), fleet, NOW_MS, half)).toEqual({
      kind: "impossible",
      reason: "model",
    });
    expect(decide(request({ residency: ["eu-west"] }), fleet, NOW_MS, half)).toEqual({
      kind: "impossible",
      reason: "residency",
    });
    expect(
      decide(request({ exclude: ["a"], promptTokens: 1 }), fleetOf([backend("a")]), NOW_MS, half),
    ).toEqual({
      kind: "impossible",
      reason: "tried",
    });
  });

  it("an empty view is an empty answer", () => {
    expect(place(request(), fleetOf([]), NOW_MS, half)).toEqual([]);
  });
});

it("says why each of the others was turned down", () => {
  const fleet = fleetOf(
    [
      backend("good"),
      backend("drained", { state: "draining" }),
      backend("abroad", { region: "ap-east" }),
      backend("dead"),
      backend("full", { maxConcurrent: 1, placed: 2 }),
    ],
    { health: { dead: health({ failures: 5, retryAtMs: NOW_MS + 1 }) } },
  );
  const { decision, turnedDown } = explain(request({ residency: ["us-east"] }), fleet, NOW_MS, half);
  expect(decision).toMatchObject({ kind: "placed", placements: [{ decode: "good" }] });
  expect(turnedDown).toEqual([
    { backend: "drained", region: "us-east", reason: "draining" },
    { backend: "abroad", region: "ap-east", reason: "residency" },
    { backend: "dead", region: "us-east", reason: "resting" },
    { backend: "full", region: "us-east", reason: "busy" },
  ]);
});
