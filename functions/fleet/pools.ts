/**
 * The pools as this isolate knows them: a view of each, at most a second old while requests come, last known good,
 * versions only going up; and the calls that place an attempt in one and tell how it went. Views carry what other
 * isolates placed, so that a conversation finds its cache wherever its last turn came in.
 */
import { createPrefixIndex, insertPrefix } from "../../router/prefix.ts";
import { createSessions, rememberSession } from "../../router/sessions.ts";
import type { FleetView, Health, Outcome } from "../../router/types.ts";
import { SECOND_MS, within } from "../clock.ts";
import type { Env } from "../env.ts";
import type { AttemptId } from "../ids.ts";
import type { PoolAnswer, PoolAsk, PoolName, PoolObject, PoolView } from "../objects/pool.ts";
import { backendView, type Load } from "./load.ts";
import { backendsOf, type Snapshot } from "./snapshot.ts";

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

/** The fleet for one model: the snapshot's backends with what is known of their load and health. */
export function fleetView(
  view: Snapshot,
  model: string,
  distanceMs: (region: string) => number | undefined,
): FleetView {
  const loads: Record<string, Load> = {};
  const health: Record<string, Health> = {};
  let version = view.takenAt;
  let loadAgeMs = 0;
  for (const pool of poolsOf(view, model)) {
    const pooled = known.get(nameOf(pool));
    if (!pooled) continue;
    const mine = pooled.view;
    loadAgeMs = Math.max(loadAgeMs, Date.now() - pooled.takenAt);
    version = Math.max(version, mine.version);
    Object.assign(loads, mine.loads);
    Object.assign(health, mine.health);
  }
  const backends = backendsOf(view, model).map((backend) =>
    backendView(backend, distanceMs(backend.region), loads[backend.id]),
  );
  return { version, backends, health, loadAgeMs, prefixes, sessions };
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

/** Places an attempt in a pool; undefined: the pool cannot be reached. */
export async function assign(
  env: Env,
  ask: Omit<PoolAsk, "since">,
): Promise<PoolAnswer["decision"] | undefined> {
  try {
    const since = known.get(nameOf(ask.pool))?.view.version ?? 0;
    const asked = objectOf(env, ask.pool).assign({ ...ask, since });
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

/** A place that came too late to be used. */
async function giveBack(env: Env, ask: Omit<PoolAsk, "since">, { decision }: PoolAnswer): Promise<void> {
  if (decision.kind !== "placed") return;
  const backend = decision.placements[0]!.decode;
  await report(env, ask.pool, ask.attempt, { backend, kind: "left" }, true);
}

/** Tells a pool how an attempt goes; what is lost on the way ends with its slot's deadline. */
export async function report(
  env: Env,
  pool: PoolName,
  attempt: AttemptId,
  outcome: Outcome | undefined,
  ended: boolean,
): Promise<void> {
  try {
    await objectOf(env, pool).report(attempt, outcome, ended);
  } catch (error) {
    console.error(`pool ${nameOf(pool)} was not told of ${attempt}: ${error}`);
  }
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

function adopt(name: string, view: PoolView): void {
  const before = known.get(name);
  if (before && view.version < before.view.version) return; // An older answer that came late.
  known.set(name, { view, takenAt: Date.now() });
  for (const { salt, blocks, session, backend } of view.placed) {
    insertPrefix(prefixes, salt, blocks, backend);
    if (session !== undefined) rememberSession(sessions, salt, session, backend);
  }
}

function poolsOf(view: Snapshot, model: string): PoolName[] {
  const regions = new Set(backendsOf(view, model).map((backend) => backend.region));
  return [...regions].map((region) => ({ region, model }));
}

const nameOf = ({ region, model }: PoolName): string => `${region}/${model}`;

function objectOf(env: Env, pool: PoolName): DurableObjectStub<PoolObject> {
  return env.POOLS.getByName(nameOf(pool));
}
