/**
 * The pools as this isolate knows them: a view of each, at most a second old while requests come, last known good,
 * versions only going up; and the calls that place an attempt in one and tell how it went. Views carry what other
 * isolates placed, so that a conversation finds its cache wherever its last turn came in.
 */
import { lastKnown, NOTHING_KNOWN, withBackends, withHealth } from "../../router/fleet.ts";
import { createPrefixIndex, insertPrefix } from "../../router/prefix.ts";
import { createSessions, rememberSession } from "../../router/sessions.ts";
import type { BackendView, FleetView, Outcome } from "../../router/types.ts";
import { SECOND_MS, within } from "../clock.ts";
import type { Env } from "../env.ts";
import type { PoolAnswer, PoolAsk, PoolName, PoolView } from "../objects/pool.ts";
import { backendView } from "./load.ts";
import { nameOf, objectOf, report, takingAlong } from "./progress.ts";
import { type Backend, backendsOf, type Snapshot } from "./snapshot.ts";

const MAX_AGE_MS = 1 * SECOND_MS;
/** A pool answers in milliseconds or is not asked: the fallback needs nobody. */
const ASSIGN_LIMIT_MS = 500;

interface Known {
  view: PoolView;
  takenAt: number;
}

const known = new Map<string, Known>();
/** When a view was last asked for, while the answer is awaited. */
const refreshing = new Map<string, number>();
const STALE_CALL_MS = 5 * SECOND_MS;
const prefixes = createPrefixIndex();
const sessions = createSessions();

/** A pool's backends as last seen, and from what: made anew only when one of these is another. */
interface Seen {
  readonly snapshot: Snapshot;
  readonly view: PoolView | undefined;
  readonly distanceMs: number | undefined;
  readonly backends: readonly BackendView[];
}

interface SeenModel {
  readonly pools: Map<string, Seen>;
  fleet: FleetView;
}

const seen = new Map<string, SeenModel>();

/** The fleet for one model: the snapshot's backends with what is known of their load and health. */
export function fleetView(
  view: Snapshot,
  model: string,
  distanceMs: (region: string) => number | undefined,
): FleetView {
  const pools = poolsOf(view, model);
  let before = seen.get(model);
  if (!before)
    seen.set(model, (before = { pools: new Map(), fleet: { ...NOTHING_KNOWN, prefixes, sessions } }));
  let version = view.takenAt;
  let loadAgeMs = 0;
  let isSame = pools.length === before.pools.size;
  for (const pool of pools) {
    const name = nameOf(pool);
    const pooled = known.get(name);
    if (pooled) {
      loadAgeMs = Math.max(loadAgeMs, Date.now() - pooled.takenAt);
      version = Math.max(version, pooled.view.version);
    }
    const old = before.pools.get(name);
    const distance = distanceMs(pool.region);
    if (old?.snapshot === view && old.view === pooled?.view && old.distanceMs === distance) continue;
    isSame = false;
    before.pools.set(name, {
      snapshot: view,
      view: pooled?.view,
      distanceMs: distance,
      backends: backendsIn(view, pool, pooled?.view, distance),
    });
    if (pooled && pooled.view !== old?.view) before.fleet = withHealth(before.fleet, pooled.view.health);
  }
  if (!isSame) {
    const names = new Set(pools.map(nameOf));
    for (const name of before.pools.keys()) if (!names.has(name)) before.pools.delete(name);
    const backends = [...before.pools.values()].flatMap((pool) => pool.backends);
    before.fleet = withBackends(before.fleet, backends);
  }
  return { ...before.fleet, version, loadAgeMs };
}

function backendsIn(
  view: Snapshot,
  pool: PoolName,
  pooled: PoolView | undefined,
  distanceMs: number | undefined,
): BackendView[] {
  const contextLength = view.models.get(pool.model)?.contextLength;
  return backendsOf(view, pool.model)
    .filter((backend) => backend.region === pool.region)
    .map((backend) => backendView(backend, contextLength, distanceMs, pooled?.loads[backend.id]));
}

/** Reads the views that are old, beside the request that finds them so. */
export async function refreshViews(
  env: Env,
  view: Snapshot,
  model: string,
  maxAgeMs = MAX_AGE_MS,
): Promise<void> {
  const now = Date.now();
  const old = poolsOf(view, model).filter(
    (pool) => now - (known.get(nameOf(pool))?.takenAt ?? 0) >= maxAgeMs,
  );
  await Promise.all(
    old.map(async (pool) => {
      const name = nameOf(pool);
      // A call that the platform cut with its request never says so: its mark is good for a few seconds.
      if (maxAgeMs > 0 && now - (refreshing.get(name) ?? 0) < STALE_CALL_MS) return;
      refreshing.set(name, now);
      try {
        adopt(name, await objectOf(env, pool).view(pool, known.get(name)?.view.version ?? 0));
      } catch (error) {
        console.error(`the view of pool ${name} stays as it is: ${error}`);
      } finally {
        refreshing.delete(name);
      }
    }),
  );
}

/** What an edge asks of a pool, before it is sent. */
type Asking = Omit<PoolAsk, "since" | "progress">;

/** Places an attempt in a pool; undefined: the pool cannot be reached. */
export async function assign(env: Env, ask: Asking): Promise<PoolAnswer["decision"] | undefined> {
  try {
    const since = known.get(nameOf(ask.pool))?.view.version ?? 0;
    const asked = takingAlong(ask.pool, async (progress) =>
      objectOf(env, ask.pool).assign({ ...ask, since, progress }),
    );
    const answer = await within(ASSIGN_LIMIT_MS, asked);
    if (!answer) asked.then((late) => giveBack(env, ask, late)).catch(() => {}); // It may never come.
    if (!answer) throw new Error(`no answer within ${ASSIGN_LIMIT_MS} ms`);
    adopt(nameOf(ask.pool), answer.view);
    return answer.decision;
  } catch (error) {
    console.error(`pool ${nameOf(ask.pool)} could not be asked: ${error}`);
    return undefined;
  }
}

/** Whether a backend was failing, as its pool last said: a failure in a row, or a rest that is not over. */
export function isFailing(pool: PoolName, backend: string): boolean {
  return (known.get(nameOf(pool))?.view.health[backend]?.failures ?? 0) > 0;
}

/** Whether it can wait to be told: a good word does, where no backend and no caller waits for it. */
export function canWait(pool: PoolName, backend: Backend, outcome: Outcome | undefined): boolean {
  if (outcome && outcome.kind !== "served") return false;
  if (isFailing(pool, backend.id)) return false;
  const placed = known.get(nameOf(pool))?.view.loads[backend.id]?.placed ?? 0;
  return backend.maxConcurrent === null || placed < backend.maxConcurrent;
}

/** A place that came too late to be used. */
async function giveBack(env: Env, ask: Asking, { decision }: PoolAnswer): Promise<void> {
  if (decision.kind !== "placed") return;
  const backend = decision.placements[0]!.decode;
  await report(
    env,
    ask.pool,
    { attempt: ask.attempt, outcome: { backend, kind: "left" }, ended: true },
    true,
  );
}

/** Every pool that has a backend, for people who look. */
export async function allViews(
  env: Env,
  view: Snapshot,
): Promise<{ pool: PoolName; view: PoolView | undefined }[]> {
  const models = new Set([...view.backends.values()].map((backend) => backend.model));
  const pools = [...models].flatMap((model) => poolsOf(view, model));
  return Promise.all(
    pools.map(async (pool) => {
      const fresh = await objectOf(env, pool)
        .view(pool, Number.MAX_SAFE_INTEGER)
        .catch(() => undefined);
      return { pool, view: fresh };
    }),
  );
}

function adopt(name: string, offered: PoolView): void {
  const before = known.get(name)?.view;
  const view = lastKnown(before, offered);
  if (!view) return;
  // The same version says that it still stands so; an older one is an answer that came late.
  if (view === offered || offered.version === before?.version) known.set(name, { view, takenAt: Date.now() });
  if (view !== offered) return;
  for (const { salt, blocks, session, backend } of view.placed) {
    insertPrefix(prefixes, salt, blocks, backend);
    if (session !== undefined) rememberSession(sessions, salt, session, backend);
  }
}

function poolsOf(view: Snapshot, model: string): PoolName[] {
  const regions = new Set(backendsOf(view, model).map((backend) => backend.region));
  return [...regions].map((region) => ({ region, model }));
}
