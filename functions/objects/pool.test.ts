import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import type { RouteRequest } from "../../router/types.ts";
import { admin } from "../../test/support/worker.ts";
import type { Env } from "../env.ts";
import type { AttemptId } from "../ids.ts";
import type { PoolAsk, PoolName } from "./pool.ts";

const { POOLS } = env as unknown as Env;
const MODEL = "pooled";
const REGION = "us-pool";
const pool: PoolName = { region: REGION, model: MODEL };
const ids = ["bknd_1", "bknd_2", "bknd_3"];

beforeAll(async () => {
  // What the backends would say of themselves is no matter here: each is well.
  vi.spyOn(globalThis, "fetch").mockImplementation(async () => Response.json({ object: "list", data: [] }));
  await admin("PUT", `/regions/${REGION}`, { name: "x", zone: "enam" });
  const model = {
    name: "x",
    description: "x",
    owned_by: "x",
    context_length: 8_192,
    default_max_output_tokens: 64,
  };
  await admin("PUT", `/models/${MODEL}`, model);
  for (const id of ids) {
    const where = { name: id, region: REGION, model: MODEL, served_as: MODEL, kind: "openai", chip: "gpu" };
    const how = { url: "http://127.0.0.1:9", secret_name: "BACKEND_TEST_SECRET", state: "active" };
    await admin("PUT", `/backends/${id}`, { ...where, ...how });
  }
});

let attempts = 0;
let pools = 0;
/** A new object each: what one test teaches is nothing to the next. */
const newPool = () => POOLS.getByName(`test/${++pools}`);

const request = (more: Partial<RouteRequest> = {}): RouteRequest => ({
  model: MODEL,
  promptTokens: 100,
  maxOutput: 64,
  blocks: [],
  salt: "acct_x",
  edgeZone: "",
  preferences: {},
  exclude: [],
  budgetMs: 60_000,
  ...more,
});

const asking = (more: Partial<PoolAsk> = {}): PoolAsk => ({
  pool,
  request: request(),
  attempt: `req_${++attempts}.1` as AttemptId,
  untilMs: Date.now() + 60_000,
  distanceMs: 0,
  since: 0,
  ...more,
});

const placedIn = (view: { loads: Readonly<Record<string, { placed: number }>> }) =>
  Object.values(view.loads).reduce((sum, load) => sum + load.placed, 0);

describe("a pool", () => {
  it("counts what was placed, spreads equals, and is empty when all has ended", async () => {
    const object = newPool();
    const asks = Array.from({ length: 30 }, () => asking());
    const answers = [];
    for (const ask of asks) answers.push(await object.assign(ask));
    expect(answers.every(({ decision }) => decision.kind === "placed")).toBe(true);
    const view = await object.view(pool, 0);
    expect(placedIn(view)).toBe(30);
    for (const id of ids) expect(view.loads[id]!.placed).toBe(10);
    for (const { attempt } of asks) await object.report([{ attempt, ended: true }]);
    expect(placedIn(await object.view(pool, 0))).toBe(0);
  });

  it("gives slots as leases: one that nobody ends goes at its deadline", async () => {
    const object = newPool();
    await object.assign(asking({ untilMs: Date.now() - 1 }));
    expect(placedIn(await object.view(pool, 0))).toBe(0);
  });

  it("decides on what its edge tells it with the question: a place that has just become free is one", async () => {
    const object = newPool();
    const narrow = "bknd_narrow";
    const where = {
      name: narrow,
      region: REGION,
      model: MODEL,
      served_as: MODEL,
      kind: "openai",
      chip: "gpu",
    };
    const how = { url: "http://127.0.0.1:9", secret_name: "BACKEND_TEST_SECRET", state: "active" };
    await admin("PUT", `/backends/${narrow}`, { ...where, ...how, max_concurrent: 1, max_waiting: 0 });
    const only = () => asking({ request: request({ preferences: { only: [narrow] } }) });
    const first = only();
    expect((await object.assign(first)).decision.kind).toBe("placed");
    expect((await object.assign(only())).decision.kind).toBe("shed");
    const progress = [{ attempt: first.attempt, ended: true }];
    const { decision, view } = await object.assign({ ...only(), progress });
    expect(decision.kind).toBe("placed");
    expect(placedIn(view)).toBe(1);
    await admin("DELETE", `/backends/${narrow}`);
  });

  it("tells each edge what was placed since it last looked, and nothing twice", async () => {
    const object = newPool();
    await object.assign(asking({ request: request({ blocks: ["a", "b"], session: "s" }) }));
    const first = await object.view(pool, 0);
    expect(first.placed).toMatchObject([{ salt: "acct_x", blocks: ["a", "b"], session: "s" }]);
    expect((await object.view(pool, first.version)).placed).toEqual([]);
    await object.assign(asking({ request: request({ blocks: ["c"] }) }));
    const later = await object.view(pool, first.version);
    expect(later.placed.map((one) => one.blocks)).toEqual([["c"]]);
    expect(later.version).toBeGreaterThan(first.version);
  });

  it("leaves a backend that failed five times in a row, and says so to edges", async () => {
    const object = newPool();
    const bad = ids[0]!;
    for (let i = 0; i < 5; i++) {
      const ask = asking({ request: request({ preferences: { only: [bad] } }) });
      await object.assign(ask);
      await object.report([
        { attempt: ask.attempt, outcome: { backend: bad, kind: "failed", waitedMs: 500 }, ended: true },
      ]);
    }
    const chosen = new Set<string>();
    for (let i = 0; i < 10; i++) {
      const { decision } = await object.assign(asking());
      if (decision.kind === "placed") chosen.add(decision.placements[0]!.decode);
    }
    expect(chosen.has(bad)).toBe(false);
    expect((await object.view(pool, 0)).health[bad]!.retryAtMs).toBeGreaterThan(Date.now());
  });

  it("knows nothing any more of a backend that was removed: load, health, rates, prefixes", async () => {
    const object = newPool();
    const gone = "bknd_gone";
    const where = { name: gone, region: REGION, model: MODEL, served_as: MODEL, kind: "openai", chip: "gpu" };
    const how = { url: "http://127.0.0.1:9", secret_name: "BACKEND_TEST_SECRET", state: "active" };
    const only = { preferences: { only: [gone] } };
    await admin("PUT", `/backends/${gone}`, { ...where, ...how });
    const blocks = Array.from({ length: 8 }, (_, at) => `block-${at}`);
    const ask = asking({ request: request({ ...only, blocks, promptTokens: 2_000 }) });
    const late = asking({ request: request(only) });
    for (const one of [ask, late]) expect((await object.assign(one)).decision.kind).toBe("placed");
    await object.report([
      { attempt: ask.attempt, outcome: { backend: gone, kind: "failed", waitedMs: 5 }, ended: true },
    ]);
    await admin("DELETE", `/backends/${gone}`);
    const view = await object.view(pool, 0);
    expect([view.loads, view.health, view.standings].map((record) => gone in record)).toEqual([
      false,
      false,
      false,
    ]);
    // An outcome that comes late is nobody's.
    await object.report([{ attempt: late.attempt, outcome: { backend: gone, kind: "failed" }, ended: true }]);
    expect((await object.view(pool, 0)).health).not.toHaveProperty(gone);
    await admin("PUT", `/backends/${gone}`, { ...where, ...how });
    const { decision } = await object.assign(
      asking({ request: request({ ...only, blocks, promptTokens: 2_000 }) }),
    );
    expect(decision).toMatchObject({ kind: "placed", placements: [{ decode: gone, cachedTokens: 0 }] });
    expect((await object.view(pool, 0)).loads[gone]!.placed).toBe(1);
    await admin("DELETE", `/backends/${gone}`);
  });

  it("learns rates from answers, of one that had no company, and tells them to edges", async () => {
    const object = newPool();
    const one = ids[1]!;
    const fast = { prefillTokens: 1_000, firstTokenMs: 600, decodeTokens: 100, decodeMs: 1_000 };
    for (let turn = 0; turn < 3; turn++) {
      const ask = asking({ request: request({ preferences: { only: [one] } }), distanceMs: 100 });
      await object.assign(ask);
      await object.report([
        { attempt: ask.attempt, outcome: { backend: one, kind: "served", waitedMs: 600 }, ended: false },
      ]);
      await object.report([{ attempt: ask.attempt, ended: true, speed: fast }]);
    }
    const load = (await object.view(pool, 0)).loads[one]!;
    expect(load.prefillTokensPerSecond).toBe(2_000); // 1,000 in 600 ms, of which 100 are the way.
    expect(load.decodeTokensPerSecond).toBeCloseTo(100 * (1 + 1 / 32), 0); // It slowed itself.
  });

  it("says how each backend stands, why, and since when", async () => {
    const object = newPool();
    const bad = ids[2]!;
    const before = (await object.view(pool, 0)).standings[bad]!;
    expect(before).toMatchObject({ state: "up", reason: null });
    for (let i = 0; i < 5; i++) {
      const ask = asking({ request: request({ preferences: { only: [bad] } }) });
      await object.assign(ask);
      await object.report([
        { attempt: ask.attempt, outcome: { backend: bad, kind: "failed", waitedMs: 500 }, ended: true },
      ]);
    }
    const resting = (await object.view(pool, 0)).standings[bad]!;
    expect(resting).toMatchObject({ state: "resting", reason: "It failed 5 times in a row." });
    expect(resting.sinceMs).toBeGreaterThanOrEqual(before.sinceMs);
    expect((await object.view(pool, 0)).standings[bad]!.sinceMs).toBe(resting.sinceMs);
  });

  it("answers a request that none of its members may take with the reason", async () => {
    const { decision } = await newPool().assign(asking({ request: request({ exclude: ids }) }));
    expect(decision.kind).not.toBe("placed");
  });
});
