/**
 * That a region went down or is back, told to every account that asked. What changed, and that it is one change, is
 * decided where it is recorded (fleet/events.ts), and the event's id is made from that record: told twice, by two pools
 * or after a crash, it is one event.
 */
import { inArray } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { encodeTime } from "ulid";
import { regions } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import { type RegionChange, told } from "../fleet/events.ts";
import { derivedUlid, type EventId } from "../ids.ts";
import { dispatchRegion } from "./dispatch.ts";

/** Each in its order, and marked as told when its deliveries are in D1. Throws where one cannot be. */
export async function tellRegionChanges(env: Env, changes: readonly RegionChange[]): Promise<void> {
  if (changes.length === 0) return;
  const ids = [...new Set(changes.map(({ region }) => region))];
  const rows = await drizzle(env.DB).select().from(regions).where(inArray(regions.id, ids));
  const names = new Map(rows.map(({ id, name }) => [id, name]));
  for (const change of changes) {
    const { kind, region, at } = change;
    const data = { region, name: names.get(region) ?? region };
    await dispatchRegion(env, { id: await eventId(change), type: kind, at, data });
    await told(env, change);
  }
}

const eventId = async ({ id, kind, region, at }: RegionChange): Promise<EventId> =>
  `evt_${await derivedUlid(encodeTime(at, 10), `${id} ${kind} ${region}`)}`;
