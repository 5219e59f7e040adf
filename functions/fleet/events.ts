/**
 * What befalls backends and regions, as D1 keeps it: pools tell what they notice, any number of times and from any
 * number of lives, and each change is written once. A region is down when every active backend in it is, whatever
 * model it serves: so one transaction decides that over what all pools have told.
 */
import { and, eq, lt, notExists, or, type SQL, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { DAY_MS } from "../clock.ts";
import { backends, type FleetEventKind, fleetEvents, fleetOutages } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import type { BackendId } from "../ids.ts";

/** What is kept: whichever is less. */
const KEPT_MS = 35 * DAY_MS;
const KEPT_ROWS = 1_000;

/** How a pool sees one of its backends. */
export interface Noticed {
  readonly backend: BackendId;
  readonly region: string;
  readonly isDown: boolean;
  /** Why, in words of ours. */
  readonly reason: string | null;
}

export interface RegionChange {
  readonly type: "region.down" | "region.recovered";
  readonly region: string;
  readonly at: number;
}

/** Writes what changed and answers which regions fell or came back by it. What was known before has no effect. */
export async function noticed(
  env: Env,
  all: readonly Noticed[],
  now: number,
): Promise<readonly RegionChange[]> {
  const changes: RegionChange[] = [];
  for (const one of all) changes.push(...(await (one.isDown ? down : recovered)(env, one, now)));
  return changes;
}

async function down(env: Env, { backend, region, reason }: Noticed, at: number): Promise<RegionChange[]> {
  const db = drizzle(env.DB);
  const regionIsDown = sql`not exists ${working(env, region)} and exists (
    select 1 from ${backends} where ${backends.region} = ${region} and ${backends.state} = 'active')`;
  const event = { at, region };
  const [, , , fell] = await db.batch([
    // The event first: it is written where the outage is not yet.
    insertEvent(env, { ...event, backend, kind: "backend.down", message: reason ?? "It does not answer." }, [
      sql`not ${isOut(env, "backend", backend)}`,
    ]),
    db.insert(fleetOutages).values({ kind: "backend", subject: backend, since: at }).onConflictDoNothing(),
    insertEvent(
      env,
      { ...event, backend: null, kind: "region.down", message: "None of its backends takes requests." },
      [regionIsDown, sql`not ${isOut(env, "region", region)}`],
    ),
    db
      .insert(fleetOutages)
      .select(sql`select 'region', ${region}, ${at} where ${regionIsDown}`)
      .onConflictDoNothing()
      .returning(),
    trim(env, at),
  ]);
  return fell.length > 0 ? [{ type: "region.down", region, at }] : [];
}

async function recovered(env: Env, { backend, region }: Noticed, at: number): Promise<RegionChange[]> {
  const db = drizzle(env.DB);
  const event = { at, region, message: "It takes requests again." };
  const [, , , cameBack] = await db.batch([
    insertEvent(env, { ...event, backend, kind: "backend.recovered" }, [isOut(env, "backend", backend)]),
    db.delete(fleetOutages).where(outage("backend", backend)),
    insertEvent(env, { ...event, backend: null, kind: "region.recovered" }, [
      isOut(env, "region", region),
      sql`exists ${working(env, region)}`,
    ]),
    db
      .delete(fleetOutages)
      .where(and(outage("region", region), sql`exists ${working(env, region)}`))
      .returning(),
    trim(env, at),
  ]);
  return cameBack.length > 0 ? [{ type: "region.recovered", region, at }] : [];
}

const outage = (kind: "backend" | "region", subject: string) =>
  and(eq(fleetOutages.kind, kind), eq(fleetOutages.subject, subject));

const isOut = (env: Env, kind: "backend" | "region", subject: string): SQL =>
  sql`exists ${drizzle(env.DB).select({ one: sql`1` }).from(fleetOutages).where(outage(kind, subject))}`;

/** The active backends of a region that nobody has told to be down. */
function working(env: Env, region: string) {
  const db = drizzle(env.DB);
  const itsOutage = db
    .select({ one: sql`1` })
    .from(fleetOutages)
    .where(and(eq(fleetOutages.kind, "backend"), eq(fleetOutages.subject, backends.id)));
  return db
    .select({ one: sql`1` })
    .from(backends)
    .where(and(eq(backends.region, region), eq(backends.state, "active"), notExists(itsOutage)));
}

interface Event {
  readonly at: number;
  readonly region: string;
  readonly backend: BackendId | null;
  readonly kind: FleetEventKind;
  readonly message: string;
}

/** The order is that of the table's columns: Drizzle names them all. */
function insertEvent(env: Env, { at, region, backend, kind, message }: Event, where: readonly SQL[]) {
  return drizzle(env.DB)
    .insert(fleetEvents)
    .select(
      sql`select (select coalesce(max(${fleetEvents.id}), 0) + 1 from ${fleetEvents}), ${at}, ${region}, ${backend},
        ${kind}, ${message} where ${sql.join([...where], sql` and `)}`,
    );
}

function trim(env: Env, now: number) {
  const newest = sql`(select max(${fleetEvents.id}) from ${fleetEvents})`;
  return drizzle(env.DB)
    .delete(fleetEvents)
    .where(or(lt(fleetEvents.at, now - KEPT_MS), sql`${fleetEvents.id} <= ${newest} - ${KEPT_ROWS}`));
}
