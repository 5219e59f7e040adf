/**
 * When a region goes down and when it is back, for webhooks. A pool tells when all of its backends fall silent or one
 * speaks again; a region is down when none of its pools that have backends is up. D1 keeps the last word, so that many
 * pools, and objects that start again, make one event of one change; what was not told is told by the next one.
 */
import { and, eq, ne, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { backends, poolStates, regionStates, regions } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import { framesOf } from "../errors.ts";
import { newEventId } from "../ids.ts";
import { dispatchRegion } from "./dispatch.ts";

/** Never throws. Answers whether it has been kept, and told where it was a change of the region. */
export async function poolHeard(
  env: Env,
  { region, model }: { readonly region: string; readonly model: string },
  up: boolean,
): Promise<boolean> {
  try {
    await keep(env, region, model, up);
    await tell(env, region);
    return true;
  } catch (error) {
    console.error(`region ${region}: its change waits to be told: ${framesOf(error)}`);
    return false;
  }
}

/** In one transaction: what the pool says, and what the region is by that. */
async function keep(env: Env, region: string, model: string, up: boolean): Promise<void> {
  const db = drizzle(env.DB);
  const at = Date.now();
  const isUp = sql`exists (select 1 from ${poolStates} as pool where pool.region = ${region} and pool.up
    and exists (select 1 from ${backends} as one where one.region = pool.region and one.model = pool.model))`;
  await db.batch([
    db
      .insert(poolStates)
      .values({ region, model, up, at })
      .onConflictDoUpdate({ target: [poolStates.region, poolStates.model], set: { up, at } }),
    // A region that nobody has heard of was up: that it is so is no news.
    db.insert(regionStates).values({ region, up: true, at, told: true }).onConflictDoNothing(),
    db
      .update(regionStates)
      .set({ up: sql`${isUp}`, at, event: newEventId(), told: false })
      .where(and(eq(regionStates.region, region), ne(regionStates.up, sql`${isUp}`))),
  ]);
}

async function tell(env: Env, region: string): Promise<void> {
  const db = drizzle(env.DB);
  const [[state], [about]] = await db.batch([
    db.select().from(regionStates).where(eq(regionStates.region, region)),
    db.select().from(regions).where(eq(regions.id, region)),
  ]);
  if (!state || state.told || state.event === null) return;
  const { up, at, event } = state;
  await dispatchRegion(env, {
    id: event,
    type: up ? "region.recovered" : "region.down",
    at,
    data: { region, name: about?.name ?? region },
  });
  await db
    .update(regionStates)
    .set({ told: true })
    .where(and(eq(regionStates.region, region), eq(regionStates.event, event)));
}
