import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import type { Env } from "../env.ts";
import type { AttemptId } from "../ids.ts";
import { parseChatRequest } from "../surfaces/openai/schema.ts";
import { distanceTo, measure } from "./distance.ts";
import { errorOf } from "./nowhere.ts";
import { type Ask, predict, promptOf, takePlace } from "./route.ts";
import type { Backend, Region, Snapshot } from "./snapshot.ts";

const MODEL = "m";

function backend(id: string, region: string): Backend {
  const what = {
    model: MODEL,
    servedAs: MODEL,
    kind: "causeway",
    chip: "gpu",
    plays: null,
    state: "active",
  } as const;
  const costs = { costInput: null, costCachedInput: null, costOutput: null };
  const able = { contextLength: null, tools: null, maxConcurrent: null, maxWaiting: null };
  const rates = { prefillTokensPerSecond: null, decodeTokensPerSecond: null };
  // Port 9 discards: nobody answers a probe there.
  return {
    id: `bknd_${id}`,
    name: id,
    region,
    url: "http://127.0.0.1:9",
    secret: "s",
    keepsAttempts: true,
    ...what,
    ...costs,
    ...able,
    ...rates,
  };
}

function region(id: string, simulatedDistanceMs: number, jurisdiction: string): Region {
  return { id, name: id, zone: "enam", simulatedDistanceMs, jurisdiction };
}

const view: Snapshot = {
  takenAt: Date.now(),
  models: new Map(),
  prices: new Map(),
  regions: new Map([region("near", 0, "us"), region("far", 500, "eu")].map((one) => [one.id, one])),
  backends: new Map(
    [backend("n1", "near"), backend("n2", "near"), backend("n3", "near"), backend("f1", "far")].map((one) => [
      one.id,
      one,
    ]),
  ),
};

function ask(content: string): Ask {
  const request = parseChatRequest({ model: MODEL, messages: [{ role: "user", content }] });
  if ("status" in request) throw new Error(request.message);
  const bound = { maxInput: 1_000, maxOutput: 100 };
  const from = { latitude: 39, longitude: -77 };
  return {
    request,
    model: MODEL,
    bound,
    salt: "acct_x",
    from,
    deadlineAt: Date.now() + 60_000,
    ...promptOf(request, bound),
  };
}

/** An environment whose pools do this. */
const withPools = (pool: object): Env => ({
  ...(env as unknown as Env),
  POOLS: { getByName: () => pool } as never,
});

let attempts = 0;
const attempt = (): AttemptId => `req_${++attempts}.1`;

describe("a pool that cannot be asked", () => {
  const pools: [string, object][] = [
    [
      "throws",
      { assign: () => Promise.reject(new Error("down")), view: () => Promise.reject(new Error("down")) },
    ],
    ["never answers", { assign: () => new Promise(() => {}), view: () => new Promise(() => {}) }],
  ];
  it.each(pools)("(it %s) is done without, in its own region", async (_, pool) => {
    const place = await takePlace(withPools(pool), view, ask("hello"), undefined, [], attempt());
    expect(place).toMatchObject({ kind: "placed", backend: { region: "near" } });
  });

  it("leaves the same prompt on the same backend, and what was tried out of it", async () => {
    const down = withPools(pools[0]![1]);
    const long = ask("a long prompt ".repeat(100));
    const places = await Promise.all(
      [1, 2, 3].map(() => takePlace(down, view, long, undefined, [], attempt())),
    );
    const ids = new Set(places.map((place) => (place.kind === "placed" ? place.backend.id : place.kind)));
    expect(ids.size).toBe(1);
    const next = await takePlace(down, view, long, undefined, [...ids] as string[], attempt());
    expect(next).toMatchObject({ kind: "placed" });
    expect(next.kind === "placed" && ids.has(next.backend.id)).toBe(false);
  });

  it("does not widen residency", async () => {
    const down = withPools(pools[0]![1]);
    for (let i = 0; i < 5; i++) {
      const place = await takePlace(down, view, ask(`hello ${i}`), ["eu"], [], attempt());
      expect(place).toMatchObject({ kind: "placed", backend: { region: "far" } });
    }
  });
});

it("a pool that is full sends on to the next region", async () => {
  const asked: string[] = [];
  const shed = {
    decision: { kind: "shed", reason: "busy", retryAfterSeconds: 3 },
    view: { version: 1, loads: {}, health: {}, standings: {}, placed: [] },
  };
  const full = {
    assign: async ({ pool }: { pool: { region: string } }) => {
      asked.push(pool.region);
      return shed;
    },
  };
  expect(await takePlace(withPools(full), view, ask("hello"), undefined, [], attempt())).toMatchObject({
    kind: "shed",
    retryAfterSeconds: 3,
  });
  expect(asked).toEqual(["near", "far"]);
});

describe("a request that brings tools", () => {
  const tooled = (): Ask => {
    const plain = ask("hello");
    const request: Ask["request"] = {
      ...plain.request,
      tools: [{ type: "function", function: { name: "look_up" } }],
    };
    return { ...plain, request, ...promptOf(request, plain.bound) };
  };
  const withTools = (can: Readonly<Record<string, boolean | null>>): Snapshot => ({
    ...view,
    backends: new Map(
      [...view.backends].map(([id, one]) => [id, { ...one, tools: can[one.name] ?? one.tools }]),
    ),
  });

  it("goes to a backend that can call them, however far", () => {
    const near = withTools({ n1: false, n2: false, n3: false });
    expect(predict(near, tooled(), undefined, Date.now())).toMatchObject({ backend: { region: "far" } });
    expect(predict(near, ask("hello"), undefined, Date.now())).toMatchObject({ backend: { region: "near" } });
  });

  it("is a 400 that names them where no backend can", () => {
    const none = withTools({ n1: false, n2: false, n3: false, f1: false });
    const nowhere = predict(none, tooled(), undefined, Date.now());
    expect(nowhere).toMatchObject({ kind: "impossible", reason: "tools" });
    if (nowhere.kind === "placed") throw new Error("placed");
    expect(errorOf(none, tooled(), nowhere)).toMatchObject({ status: 400, param: "tools", retryable: false });
  });
});

it("measures a region's distance on the next backend where the first is ill, and again where a call was cut", async () => {
  const there = ["d1", "d2", "d3"].map((id) => ({ ...backend(id, "cut"), url: `http://${id}.test` }));
  const regions = new Map([["cut", region("cut", 0, "us")]]);
  const cut = { ...view, regions };
  const asked: string[] = [];
  let isHanging = true;
  const fetched = vi.spyOn(globalThis, "fetch").mockImplementation((url) => {
    asked.push(String(url));
    // As a call that the platform cut with its request: it never settles.
    if (isHanging) return new Promise(() => {});
    return asked.length % 3 === 0 ? Promise.resolve(new Response("ok")) : Promise.reject(new Error("ill"));
  });
  const clock = vi.spyOn(Date, "now");
  const startedAt = 1_900_000_000_000;
  clock.mockReturnValue(startedAt);
  try {
    void measure(cut, there);
    await vi.waitFor(() => expect(asked.length).toBe(1));
    clock.mockReturnValue(startedAt + 1_000);
    await measure(cut, there); // Under way: not twice.
    expect(asked.length).toBe(1);
    isHanging = false;
    asked.length = 0;
    clock.mockReturnValue(startedAt + 11_000);
    await measure(cut, there);
    expect(new Set(asked).size).toBe(3);
    expect(distanceTo(regions.get("cut")!, undefined)).toBeTypeOf("number");
  } finally {
    clock.mockRestore();
    fetched.mockRestore();
  }
});

it("predicts the nearest region where nothing speaks against it", () => {
  expect(predict(view, ask("x"), undefined, Date.now())).toMatchObject({
    kind: "placed",
    backend: { region: "near" },
  });
});
