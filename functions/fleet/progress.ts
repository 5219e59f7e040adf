/**
 * What pools are yet to be told of attempts. What need not be at once waits a moment: a short request is told of once
 * and not twice, what several requests have to tell goes in one call, and a placement takes along what waits, so that
 * it is decided on it. What is lost with its isolate ends with its slots' deadlines.
 */
import { after } from "../clock.ts";
import type { Env } from "../env.ts";
import type { PoolName, PoolObject, Progress } from "../objects/pool.ts";

/** The most that a pool's counts are behind for it. */
const WAIT_MS = 100;
/** Under load placements take along all that waits, and who was to tell looks again: so often, for the next ones. */
const LOOKS = 10;
/** Whoever was to tell by then was cut by the platform, with its request. */
const OVERDUE_MS = 1_000;
const TRIES = 2;
/** More than this waits only where a pool cannot be reached: the oldest are let go. */
const MAX_WAITING = 1_024;

interface Untold {
  readonly progress: Progress;
  readonly since: number;
  readonly tries: number;
}

interface Waiting {
  untold: Untold[];
  /** When a request is going to tell it; undefined: none is. */
  tellsAt: number | undefined;
}

const waiting = new Map<string, Waiting>();

export const nameOf = ({ region, model }: PoolName): string => `${region}/${model}`;

export function objectOf(env: Env, pool: PoolName): DurableObjectStub<PoolObject> {
  return env.POOLS.getByName(nameOf(pool));
}

/** Tells a pool how an attempt goes, at once or in a moment. Resolves when that is done, or somebody else's to do. */
export async function report(env: Env, pool: PoolName, progress: Progress, atOnce: boolean): Promise<void> {
  const queue = waitingFor(pool);
  const now = Date.now();
  add(queue, progress, now);
  if (!atOnce && queue.tellsAt !== undefined && now < queue.tellsAt + OVERDUE_MS) return;
  if (!atOnce) await untilDue(queue, now);
  await tellAll(env, pool, queue);
}

async function untilDue(queue: Waiting, now: number): Promise<void> {
  queue.tellsAt = now + WAIT_MS;
  for (let looks = 0; looks < LOOKS; looks++) {
    await after(queue.tellsAt - Date.now());
    const dueAt = (queue.untold[0]?.since ?? 0) + WAIT_MS;
    if (dueAt <= Date.now()) break;
    queue.tellsAt = dueAt;
  }
  queue.tellsAt = undefined;
}

/** Whatever waits goes along with a call of its pool; where that fails, it waits on. */
export async function takingAlong<T>(
  pool: PoolName,
  call: (progress: readonly Progress[]) => Promise<T>,
): Promise<T> {
  const queue = waitingFor(pool);
  const untold = queue.untold;
  queue.untold = [];
  try {
    return await call(untold.map(({ progress }) => progress));
  } catch (error) {
    putBack(pool, queue, untold, error);
    throw error;
  }
}

async function tellAll(env: Env, pool: PoolName, queue: Waiting): Promise<void> {
  for (let tries = 0; tries < TRIES && queue.untold.length > 0; tries++) {
    if (tries > 0) await after(WAIT_MS);
    const told = await takingAlong(pool, (progress) => objectOf(env, pool).report(progress)).then(
      () => true,
      () => false,
    );
    if (told) return;
  }
}

/** The end of an attempt whose first token is still untold goes with it; an outcome is never merged with another. */
function add(queue: Waiting, progress: Progress, now: number): void {
  const at = queue.untold.findIndex((one) => one.progress.attempt === progress.attempt);
  const before = queue.untold[at];
  if (!before || progress.outcome) queue.untold.push({ progress, since: now, tries: 0 });
  else
    queue.untold[at] = {
      ...before,
      progress: {
        ...before.progress,
        ended: before.progress.ended || progress.ended,
        ...(progress.speed && { speed: progress.speed }),
      },
    };
}

function putBack(pool: PoolName, queue: Waiting, untold: readonly Untold[], error: unknown): void {
  const again = untold.filter(({ tries }) => tries + 1 < TRIES);
  const lost = untold.length - again.length;
  if (lost > 0) console.error(`pool ${nameOf(pool)} was not told of ${lost} attempts: ${error}`);
  queue.untold = [...again.map((one) => ({ ...one, tries: one.tries + 1 })), ...queue.untold].slice(
    -MAX_WAITING,
  );
}

function waitingFor(pool: PoolName): Waiting {
  const name = nameOf(pool);
  let queue = waiting.get(name);
  if (!queue) waiting.set(name, (queue = { untold: [], tellsAt: undefined }));
  return queue;
}
