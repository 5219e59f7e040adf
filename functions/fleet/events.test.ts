/** What D1 keeps of outages: each change once, whoever tells of it how often, and regions by all their backends. */
import { desc, eq } from "drizzle-orm";
import { beforeEach, describe, expect, it } from "vitest";
import { db, env } from "../../test/support/worker.ts";
import { DAY_MS } from "../clock.ts";
import { backends, fleetEvents, fleetOutages } from "../db/d1/schema.ts";
import type { BackendId } from "../ids.ts";
import { noticed, told } from "./events.ts";

let region: string;
let [a, b]: [BackendId, BackendId] = ["bknd_a", "bknd_b"];
let made = 0;

async function register(id: BackendId, state: "active" | "draining" = "active"): Promise<void> {
  const about = {
    name: id,
    region,
    model: `model-of-${id}`,
    servedAs: "m",
    kind: "vllm",
    chip: "gpu",
  } as const;
  await db.insert(backends).values({
    id,
    ...about,
    url: "http://127.0.0.1:9",
    secretName: "BACKEND_TEST_SECRET",
    state,
    createdAt: 0,
  });
}

beforeEach(async () => {
  made++;
  region = `region-${made}`;
  [a, b] = [`bknd_${made}a`, `bknd_${made}b`];
  await register(a);
  await register(b);
});

const notice = (backend: BackendId, isDown: boolean, now = Date.now()) =>
  noticed(env, [{ backend, region, isDown, reason: "It failed 3 times in a row." }], now);
/** Notices, and has told what it answers. */
async function tell(...what: Parameters<typeof notice>) {
  const changes = await notice(...what);
  for (const change of changes) await told(env, change);
  return changes;
}
const written = async () =>
  (await db.select().from(fleetEvents).where(eq(fleetEvents.region, region)).orderBy(fleetEvents.id)).map(
    ({ kind, backend }) => (backend ? `${kind} ${backend}` : kind),
  );

describe("what pools notice", () => {
  it("is written once a change, and a region is down when its last backend is", async () => {
    expect(await tell(a, true)).toEqual([]);
    expect(await tell(a, true)).toEqual([]);
    const now = Date.now();
    expect(await tell(b, true, now)).toEqual([
      { id: expect.any(Number), kind: "region.down", region, at: now },
    ]);
    expect(await tell(b, true)).toEqual([]);
    expect(await tell(a, false, now)).toEqual([
      { id: expect.any(Number), kind: "region.recovered", region, at: now },
    ]);
    expect(await tell(a, false)).toEqual([]);
    expect(await tell(b, false)).toEqual([]);
    expect(await written()).toEqual([
      `backend.down ${a}`,
      `backend.down ${b}`,
      "region.down",
      `backend.recovered ${a}`,
      "region.recovered",
      `backend.recovered ${b}`,
    ]);
    expect(await db.select().from(fleetOutages).where(eq(fleetOutages.subject, region))).toEqual([]);
  });

  it("is nothing where one that was never down is up", async () => {
    expect(await tell(a, false)).toEqual([]);
    expect(await written()).toEqual([]);
  });

  it("tells of a region again when it falls again", async () => {
    for (let i = 0; i < 2; i++) {
      expect(await tell(a, true)).toEqual([]);
      expect(await tell(b, true)).toMatchObject([{ kind: "region.down" }]);
      expect(await tell(b, false)).toMatchObject([{ kind: "region.recovered" }]);
      expect(await tell(a, false)).toEqual([]);
    }
  });

  it("does not count what an operator drains", async () => {
    await db.update(backends).set({ state: "draining" }).where(eq(backends.id, b));
    expect(await tell(a, true)).toMatchObject([{ kind: "region.down" }]);
    await db.update(backends).set({ state: "draining" }).where(eq(backends.id, a));
  });

  it("comes from several pools at once without a double", async () => {
    const all = await Promise.all([tell(a, true), tell(b, true), tell(a, true), tell(b, true)]);
    expect(new Set(all.flat().map(({ id }) => id)).size).toBe(1);
    expect((await written()).filter((kind) => kind === "region.down")).toHaveLength(1);
  });

  it("is answered until it has been told, whoever notices what", async () => {
    await notice(a, true);
    const fell = await notice(b, true);
    expect(fell).toMatchObject([{ kind: "region.down", region }]);
    // Its finder died. What others notice brings it up again, known or not, before what came later.
    expect(await notice(b, true)).toEqual(fell);
    expect(await notice(b, false)).toMatchObject([fell[0], { kind: "region.recovered", region }]);
    await told(env, fell[0]!);
    expect(await tell(a, false)).toMatchObject([{ kind: "region.recovered", region }]);
    expect(await notice(a, false)).toEqual([]);
  });

  it("is kept for 35 days, and the newest thousand of it", async () => {
    await tell(a, true, Date.now() - 36 * DAY_MS);
    await tell(a, false);
    expect(await written()).toEqual([`backend.recovered ${a}`]);
    await db.run(
      "insert into fleet_events with recursive n(i) as (select 100000 union all select i + 1 from n where i < 101200) select i, 4000000000000, 'other', null, 'region.down', '', 1 from n",
    );
    await tell(b, true);
    const rows = await db.select({ id: fleetEvents.id }).from(fleetEvents).orderBy(desc(fleetEvents.id));
    expect(rows).toHaveLength(1_000);
    expect(rows[0]!.id).toBe(101_201);
  });
});
