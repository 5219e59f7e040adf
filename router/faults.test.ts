/** The router in a simulated fleet that fails: what the callers see. Each setting's seed is in its test's name. */
import { describe, expect, it } from "vitest";
import {
  capacityPerSecond,
  goodput,
  type ServerSpec,
  type Setting,
  type Story,
  simulate,
} from "../test/simulate/fleet.ts";

const regions = [
  { region: "us-east", distanceMs: 5 },
  { region: "eu-west", distanceMs: 45 },
  { region: "ap-east", distanceMs: 95 },
];
const rates = { maxConcurrent: 16, prefillTokensPerSecond: 8_000, decodeTokensPerSecond: 50 };
const twelve: ServerSpec[] = Array.from({ length: 12 }, (_, at) => ({
  id: `b${at}`,
  ...rates,
  ...regions[at % 3]!,
}));
const shape = { servers: twelve, promptTokens: 1_000, outputTokens: 200, seconds: 90 };
const capacity = capacityPerSecond(shape);

const attemptsOf = (stories: readonly Story[]) => stories.reduce((sum, { attempts }) => sum + attempts, 0);
const share = (stories: readonly Story[], backend: string) =>
  stories.filter((story) => story.backend === backend).length / stories.length;
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

const halfOf = twelve.filter((_, at) => at % 2 === 0).map(({ id }) => id);
const halfDown = (does: "die" | "stop" | "fail"): Setting["faults"] =>
  halfOf.flatMap((server) => [
    { atMs: 30_000, server, does },
    { atMs: 40_000, server, does: "recover" as const },
  ]);

describe.each([1, 2, 3])("seed %i, half the fleet at nine tenths of its capacity", (seed) => {
  const setting = { ...shape, seed, requestsPerSecond: capacity * 0.9 };

  it.each(["die", "stop", "fail"] as const)(
    "that %ss for ten seconds: goodput is back within 30 s, attempts at most 1.2 times requests",
    (does) => {
      const stories = simulate({ ...setting, faults: halfDown(does)! });
      const good = goodput(stories, 10_000);
      expect(mean(good.slice(0, 22))).toBeGreaterThan(0.99);
      expect(mean(good.slice(60, 90))).toBeGreaterThanOrEqual(0.95);
      expect(attemptsOf(stories) / stories.length).toBeLessThanOrEqual(1.2);
      expect(stories.filter(({ ending }) => ending === "open")).toEqual([]);
    },
  );

  it("and a view of load that is a second old: the same", () => {
    const stories = simulate({ ...setting, viewAgeMs: 1_000, faults: halfDown("die")! });
    const good = goodput(stories, 10_000);
    expect(mean(good.slice(0, 22))).toBeGreaterThan(0.9);
    expect(mean(good.slice(60, 90))).toBeGreaterThanOrEqual(0.95);
    expect(attemptsOf(stories) / stories.length).toBeLessThanOrEqual(1.2);
  });
});

describe.each([11, 12])("seed %i, one of two", (seed) => {
  const two: ServerSpec[] = ["a", "b"].map((id) => ({ id, ...rates, maxConcurrent: 64, ...regions[0]! }));
  const setting = { ...shape, servers: two, seconds: 120, seed, requestsPerSecond: 5 };

  it("that fails in a millisecond is no magnet", () => {
    const stories = simulate({ ...setting, faults: [{ atMs: 0, server: "b", does: "fail" }] });
    expect(stories.every(({ ending }) => ending === "served")).toBe(true);
    const toFailer = attemptsOf(stories) - stories.length;
    expect(toFailer / stories.length).toBeLessThan(0.03);
    expect(share(stories, "b")).toBe(0);
  });

  it("that accepts and says nothing is left after a second, and its callers are served by the other", () => {
    const faults = [{ atMs: 0, server: "b", does: "stop" as const }];
    const stories = simulate({ ...setting, patienceMs: 5_000, faults });
    expect(stories.every(({ ending }) => ending === "served")).toBe(true);
    expect((attemptsOf(stories) - stories.length) / stories.length).toBeLessThan(0.05);
  });

  it("that comes back has its share again", () => {
    const faults = [
      { atMs: 0, server: "b", does: "fail" as const },
      { atMs: 20_000, server: "b", does: "recover" as const },
    ];
    const stories = simulate({ ...setting, faults });
    const later = stories.filter(({ atMs }) => atMs > 80_000);
    expect(share(later, "b")).toBeGreaterThan(0.3);
  });
});

it("all dead: callers are refused at once, and there is no storm (seed 21)", () => {
  const faults = twelve.map(({ id: server }) => ({ atMs: 10_000, server, does: "die" as const }));
  const stories = simulate({ ...shape, seconds: 40, seed: 21, requestsPerSecond: 200, faults });
  const after = stories.filter(({ atMs }) => atMs > 11_000);
  expect(after.length).toBeGreaterThan(5_000);
  expect(after.every(({ ending }) => ending === "shed" || ending === "failed")).toBe(true);
  expect(Math.max(...after.map(({ atMs, endedAtMs }) => endedAtMs - atMs))).toBeLessThan(500);
  // At most forty a second, of two hundred requests.
  expect(attemptsOf(after) / after.length).toBeLessThan(0.2);
});

it("a region that vanishes is served by the others, before the first token (seed 22)", () => {
  const faults = twelve
    .filter(({ region }) => region === "us-east")
    .map(({ id: server }) => ({ atMs: 20_000, server, does: "die" as const }));
  const stories = simulate({ ...shape, seed: 22, requestsPerSecond: capacity * 0.4, faults });
  const lost = stories.filter(({ ending }) => ending !== "served" && ending !== "cut");
  expect(lost).toEqual([]);
  expect(attemptsOf(stories) / stories.length).toBeLessThanOrEqual(1.2);
});

it("the same seed tells the same story", () => {
  const setting = { ...shape, seconds: 20, seed: 31, requestsPerSecond: capacity };
  expect(simulate(setting)).toEqual(simulate(setting));
});
