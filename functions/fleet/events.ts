/**
 * What befalls backends and regions, as D1 keeps it: pools tell what they notice, any number of times and from any
 * number of lives, and each change is written once. A region is down when every active backend in it is, whatever
 * model it serves: so one transaction decides that over what all pools have told. This is the one place that does:
 * pages show what is written here, and webhooks are sent from it (webhooks/regions.ts). A change of a region is
 * written as untold, so that whoever notices anything next tells it where its own finder could not.
 */
import { and, asc, eq, lt, notExists, or, type SQL, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { DAY_MS } from "../clock.ts";
import { backends, type FleetEventKind, fleetEvents, fleetOutages } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import type { BackendId } from "../ids.ts";
import type { RegionEventType } from "../webhooks/events.ts";

/** What is kept: whichever is less. */
const KEPT_MS = 35 * DAY_MS;
const KEPT_ROWS = 1_000;
/** Changes that are told in one go. */
const MAX_UNTOLD = 50;

/** How a pool sees one of its backends. */
export interface Noticed {
  readonly backend: BackendId;
  readonly region: string;
  readonly isDown: boolean;
  /** Why, in words of ours. */
  readonly reason: string | null;
}

export interface RegionChange {
  /** Of its row in `fleet_events`. */
  readonly id: number;
  readonly kind: RegionEventType;
  readonly region: string;
  readonly at: number;
}

/**
 * Writes what changed; what was known before has no effect. Answers the changes of regions that nobody has told yet,
 * oldest first: these ones, and what was left by a life that ended between writing and telling.
 */
export async function noticed(
  env: Env,
  all: readonly Noticed[],
  now: number,
): Promise<readonly RegionChange[]> {
  for (const one of all) await (one.isDown ? down : recovered)(env, one, now);
  return drizzle(env.DB)
    .select({
      id: fleetEvents.id,
      kind: sql<RegionEventType>`${fleetEvents.kind}`,
      region: fleetEvents.region,
      at: fleetEvents.at,
    })
    .from(fleetEvents)
    .where(untold)
    .orderBy(asc(fleetEvents.id))
    .limit(MAX_UNTOLD);
}

/** Webhooks have it: it is not answered again. */
export async function told(env: Env, { id }: RegionChange): Promise<void> {
  await drizzle(env.DB).update(fleetEvents).set({ told: true }).where(eq(fleetEvents.id, id));
}

/** Not as a parameter: SQLite then finds the index of these rows. */
const untold = sql`${fleetEvents.told} = 0`;

async function down(env: Env, { backend, region, reason }: Noticed, at: number): Promise<void> {
  const db = drizzle(env.DB);
  const regionIsDown = sql`not exists ${working(env, region)} and exists (
    select 1 from ${backends} where ${backends.region} = ${region} and ${backends.state} = 'active')`;
  const event = { at, region };
  await db.batch([
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
      .onConflictDoNothing(),
    trim(env, at),
  ]);
}

async function recovered(env: Env, { backend, region }: Noticed, at: number): Promise<void> {
  const db = drizzle(env.DB);
  const event = { at, region, message: "It takes requests again." };
  await db.batch([
    insertEvent(env, { ...event, backend, kind: "backend.recovered" }, [isOut(env, "backend", backend)]),
    db.delete(fleetOutages).where(outage("backend", backend)),
    insertEvent(env, { ...event, backend: null, kind: "region.recovered" }, [
      isOut(env, "region", region),
      sql`exists ${working(env, region)}`,
    ]),
    db.delete(fleetOutages).where(and(outage("region", region), sql`exists ${working(env, region)}`)),
    trim(env, at),
  ]);
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
        ${kind}, ${message}, ${backend === null ? 0 : 1} where ${sql.join([...where], sql` and `)}`,
    );
}

/** What waits to be told is not too many, only too old. */
function trim(env: Env, now: number) {
  const newest = sql`(select max(${fleetEvents.id}) from ${fleetEvents})`;
  return drizzle(env.DB)
    .delete(fleetEvents)
    .where(
      or(
        lt(fleetEvents.at, now - KEPT_MS),
        and(eq(fleetEvents.told, true), sql`${fleetEvents.id} <= ${newest} - ${KEPT_ROWS}`),
      ),
    );
}
