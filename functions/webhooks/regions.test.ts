/** Changes of regions on their way to webhooks: D1, dispatch and pools are real, the backends do not answer. */
import { createScheduledController } from "cloudflare:test";
import { eq } from "drizzle-orm";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import {
  addKey,
  admin,
  db,
  edge,
  env,
  eventually,
  openAccount,
  sellModel,
} from "../../test/support/worker.ts";
import { fleetEvents, webhookDeliveries, webhookEvents } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import { noticed, type RegionChange } from "../fleet/events.ts";
import { refresh } from "../fleet/snapshot.ts";
import type { BackendId, EndpointId } from "../ids.ts";
import worker from "../index.ts";
import { tellRegionChanges } from "./regions.ts";

let region: string;
let model: string;
let backend: BackendId;
let hooks: readonly EndpointId[];
let made = 0;

beforeEach(async () => {
  vi.spyOn(env.WEBHOOKS, "sendBatch").mockImplementation(async () => ({ metadata: {} }) as never);
  vi.spyOn(globalThis, "fetch").mockImplementation(async () => new Response(null, { status: 500 }));
  made++;
  [region, model, backend] = [`falls-${made}`, `falls-model-${made}`, `bknd_falls-${made}`];
  await sellModel(model);
  await admin("PUT", `/regions/${region}`, { name: "It Falls", zone: "weur" });
  const { status } = await admin("PUT", `/backends/${backend}`, {
    ...{ name: "one", region, model, served_as: "m", kind: "causeway", chip: "cpu", state: "active" },
    ...{ url: "http://127.0.0.1:9", secret_name: "BACKEND_TEST_SECRET" },
  });
  expect(status).toBeLessThan(300);
  hooks = [await endpoint(), await endpoint()];
});
afterEach(() => vi.restoreAllMocks());

async function endpoint(): Promise<EndpointId> {
  const account = await openAccount("1");
  const { key } = await addKey(account.object, account.id, ["manage"]);
  const body = { url: "https://hooks.acme.com/x", events: ["region.down", "region.recovered"] };
  return ((await (await edge("POST", "/v1/webhooks", key, body)).json()) as { id: EndpointId }).id;
}

const notice = (isDown: boolean) => noticed(env, [{ backend, region, isDown, reason: null }], Date.now());

/** What each endpoint was told of this region, in the order of the events. */
const toldTo = (hook: EndpointId) =>
  db
    .select({
      id: webhookEvents.id,
      type: webhookEvents.type,
      at: webhookEvents.at,
      data: webhookEvents.data,
    })
    .from(webhookDeliveries)
    .innerJoin(webhookEvents, eq(webhookEvents.id, webhookDeliveries.event))
    .where(eq(webhookDeliveries.endpoint, hook))
    .orderBy(webhookEvents.id);

const recorded = () => db.select().from(fleetEvents).where(eq(fleetEvents.region, region));

async function expectToldOnce(fell: RegionChange): Promise<void> {
  const data = { region, name: "It Falls" };
  const event = {
    id: expect.stringMatching(/^evt_[0-9A-HJKMNP-TV-Z]{26}$/),
    type: "region.down",
    at: fell.at,
    data,
  };
  const [first, second] = await Promise.all(hooks.map(toldTo));
  expect(first).toEqual([event]);
  expect(second).toEqual(first);
  expect((await recorded()).filter(({ told }) => !told)).toEqual([]);
}

it("a region that falls while no request comes is told by the minute's look, once", async () => {
  await eventually(async () => {
    await worker.scheduled(createScheduledController(), env);
    return (await toldTo(hooks[0]!)).length > 0 && (await recorded()).every(({ told }) => told);
  }, "the fall to be told");
  const fell = (await recorded()).find(({ kind }) => kind === "region.down");
  await expectToldOnce(fell as RegionChange);
});

it("what was recorded when its finder died is told by the next pool that looks, once", async () => {
  const [fell] = await notice(true);
  expect(fell).toMatchObject({ kind: "region.down", region });
  expect(await toldTo(hooks[0]!)).toEqual([]);
  // The pool itself, which knows nothing of before: its probes find what is recorded already.
  await refresh(env);
  const pool = env.POOLS.getByName(`${region}/${model}`);
  await eventually(async () => {
    await pool.view({ region, model }, 0);
    return (await recorded()).every(({ told }) => told);
  }, "the region's fall to be told");
  await expectToldOnce(fell!);
  expect(await recorded()).toHaveLength(2); // The backend's fall and the region's, each once.
});

it("one that dies after it told and before it says so tells the same event again, which is nothing", async () => {
  const [fell] = await notice(true);
  // D1 takes the deliveries, and then nothing more.
  const broken: Env = {
    ...env,
    WEBHOOKS: { ...env.WEBHOOKS, sendBatch: () => Promise.reject(new Error("dead")) },
  };
  await expect(tellRegionChanges(broken, [fell!])).rejects.toThrow("dead");
  const [before] = await Promise.all(hooks.map(toldTo));
  expect(before).toHaveLength(1);
  const again = await notice(true);
  expect(again).toEqual([fell]);
  // And two at the same time.
  await Promise.all([tellRegionChanges(env, again), tellRegionChanges(env, again)]);
  await expectToldOnce(fell!);
  expect(await toldTo(hooks[0]!)).toEqual(before);
});

it("a fall and a recovery that both wait are both told, in their order", async () => {
  await notice(true);
  const changes = await notice(false);
  await tellRegionChanges(env, changes);
  expect(changes.map(({ kind }) => kind)).toEqual(["region.down", "region.recovered"]);
  expect((await toldTo(hooks[0]!)).map(({ type }) => type).sort()).toEqual([
    "region.down",
    "region.recovered",
  ]);
  expect(await notice(false)).toEqual([]);
});
