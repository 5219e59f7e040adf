/** GET /v1/regions over HTTP: pools that are really asked, and what an account may see of them. */

import { eq } from "drizzle-orm";
import { describe, expect, it, vi } from "vitest";
import {
  admin,
  db,
  edge,
  eventually,
  openAccount,
  projected,
  sellModel,
  settle,
  usageOf,
} from "../../test/support/worker.ts";
import { accounts } from "../db/d1/schema.ts";
import { stateOf } from "./regions.ts";

async function read(key: string): Promise<any> {
  const response = await edge("GET", "/v1/regions", key);
  return { status: response.status, ...((await response.json()) as any) };
}

describe("GET /v1/regions", () => {
  it("says how a region stands and what one's own requests met there, and the rest to those who may see it", async () => {
    const account = await openAccount();
    const price = await sellModel("regions-model");
    await admin("PUT", "/regions/dark", {
      name: "Dark <b>",
      zone: "weur",
      jurisdiction: "eu",
      simulated_distance_ms: 40,
    });
    await admin("PUT", "/regions/empty", { name: "Empty", zone: "oc" });
    // Whatever is asked there fails.
    vi.spyOn(globalThis, "fetch").mockImplementation(async () => new Response(null, { status: 500 }));
    await admin("PUT", "/backends/bknd_dark", {
      ...{
        name: "dark",
        region: "dark",
        model: "regions-model",
        served_as: "m",
        kind: "causeway",
        chip: "cpu",
      },
      ...{ plays: "gpu", url: "http://127.0.0.1:9", secret_name: "BACKEND_TEST_SECRET", state: "active" },
    });
    await settle(account, price, usageOf(60, 10, { cachedInput: 40 }), { region: "dark" });
    await settle(account, price, usageOf(0, 0), { region: "dark", ending: "backend_failed", ttftMs: null });
    await projected(account);
    await eventually(
      async () => (await read(account.key)).events.some(({ kind }: any) => kind === "region.down"),
      "the region to be told to be down",
    );

    const own = await read(account.key);
    const dark = own.data.find(({ id }: any) => id === "dark");
    expect(dark).toEqual({
      id: "dark",
      name: "Dark <b>",
      zone: "weur",
      jurisdiction: "eu",
      simulated: true,
      simulated_distance_ms: 40,
      distance_ms: expect.any(Number),
      state: "down",
      own: {
        requests: 2,
        failed: 1,
        ttft_ms: { p50: expect.any(Number), p95: expect.any(Number) },
        cache_share: 0.4,
      },
      models: ["regions-model"],
      backends: null,
    });
    expect(own.data.find(({ id }: any) => id === "empty")).toMatchObject({
      simulated: false,
      state: "unknown",
      own: { requests: 0, ttft_ms: null, cache_share: null },
    });
    expect(own.events.every(({ backend }: any) => backend === null)).toBe(true);
    expect(own.events[0]).toEqual({
      at: expect.any(String),
      region: "dark",
      backend: null,
      kind: "region.down",
      message: "None of its backends takes requests.",
    });

    await db.update(accounts).set({ fleetView: "full" }).where(eq(accounts.id, account.id));
    const full = await read(account.key);
    expect(full.data.find(({ id }: any) => id === "dark").backends).toEqual([
      {
        id: "bknd_dark",
        name: "dark",
        model: "regions-model",
        kind: "causeway",
        chip: "cpu",
        plays: "gpu",
        state: "resting",
        reason: expect.stringMatching(/failed/),
        running: null,
        waiting: null,
        placed: 0,
        max_concurrent: null,
        cache_use: null,
        prefix_hit_share: null,
        ttft_ms: null,
        error_share: expect.any(Number),
        since: expect.any(String),
      },
    ]);
    expect(full.events.map(({ kind, backend }: any) => [kind, backend])).toContainEqual([
      "backend.down",
      "bknd_dark",
    ]);
    vi.restoreAllMocks();
    // Nothing that lets anybody reach a backend.
    expect(JSON.stringify(full)).not.toMatch(/127\.0\.0\.1|BACKEND_TEST_SECRET|backend-0123/);
  });

  it("takes no parameters", async () => {
    const account = await openAccount();
    expect((await edge("GET", "/v1/regions?region=x", account.key)).status).toBe(400);
  });
});

describe("a region's state", () => {
  it.each([
    [[], false, "unknown"],
    [["unknown"], true, "unknown"],
    [["up", "unknown"], false, "healthy"],
    [["up", "draining"], false, "healthy"],
    [["up", "resting"], false, "degraded"],
    [["draining", "ejected"], false, "draining"],
    [["draining", "ejected"], true, "down"],
    [["resting", "misconfigured"], true, "down"],
    // Not recorded as down yet: nobody was told so.
    [["resting", "misconfigured"], false, "degraded"],
  ] as const)("of %j, recorded as down %s, is %s", (states, isDown, expected) => {
    expect(
      stateOf(
        states.map((state) => ({ state })),
        isDown,
      ),
    ).toBe(expected);
  });
});
