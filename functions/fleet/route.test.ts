import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import type { Env } from "../env.ts";
import type { AttemptId } from "../ids.ts";
import { parseChatRequest } from "../surfaces/openai/schema.ts";
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
    view: { version: 1, loads: {}, health: {}, placed: [] },
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

it("predicts the nearest region where nothing speaks against it", () => {
  expect(predict(view, ask("x"), undefined, Date.now())).toMatchObject({
    kind: "placed",
    backend: { region: "near" },
  });
});
