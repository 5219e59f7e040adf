/**
 * How each pool stands, for people who look: what is placed and runs there, what its caches find, how fast it is, and
 * whether its backends get requests, why not and since when. Read from the pools themselves, now.
 */
import { failureRate } from "../../router/standing.ts";
import type { Env } from "../env.ts";
import type { BackendId } from "../ids.ts";
import type { StandingSince } from "./member.ts";
import { allViews } from "./pools.ts";
import type { Backend, Snapshot } from "./snapshot.ts";

export interface BackendStanding {
  readonly id: BackendId;
  readonly name: string;
  readonly kind: Backend["kind"];
  readonly chip: Backend["chip"];
  /** What a simulated region plays; null: it is what `chip` says. */
  readonly plays: Backend["plays"];
  /** What the operator wants of it. */
  readonly configured: Backend["state"];
  /** How it stands; `unknown` where its pool did not answer. */
  readonly state: StandingSince["state"] | "unknown";
  /** null: nothing is held against it. */
  readonly reason: string | null;
  /** When it came to stand so, ms since the epoch; null: unknown. */
  readonly sinceMs: number | null;
  /** What it runs at once; null: nobody said. */
  readonly maxConcurrent: number | null;
  /** Placed by the edge and not finished; the server's own gauges, null where it does not say. */
  readonly placed: number;
  readonly running: number | null;
  readonly waiting: number | null;
  /** 0 to 1. */
  readonly cacheUsage: number | null;
  /** Of the prompt tokens looked up in its cache lately, the share that was there; 0 to 1. */
  readonly prefixHitShare: number | null;
  /** Measured: of a backend that does nothing else. */
  readonly prefillTokensPerSecond: number | null;
  readonly decodeTokensPerSecond: number | null;
  /** Failures in a row, and the mean time to first token. */
  readonly failures: number;
  readonly ttftMs: number | null;
  /** Of recent attempts, the share that failed; 0 to 1. */
  readonly errorShare: number | null;
  /** Until when it gets nothing, ms since the epoch; null: no such time. */
  readonly restingUntilMs: number | null;
  readonly ejectedUntilMs: number | null;
  readonly drainingUntilMs: number | null;
}

export interface PoolStanding {
  readonly region: string;
  readonly model: string;
  /** false: its object did not answer, and nothing is known of now. */
  readonly reachable: boolean;
  readonly backends: readonly BackendStanding[];
}

/** Every pool that has a backend in the snapshot. Never throws: a pool that cannot be asked says so. */
export async function standingOfPools(env: Env, snapshot: Snapshot): Promise<readonly PoolStanding[]> {
  const nowMs = Date.now();
  const future = (ms: number | undefined) => (ms !== undefined && ms > nowMs ? ms : null);
  const pools = await allViews(env, snapshot);
  return pools.map(({ pool: { region, model }, view }) => ({
    region,
    model,
    reachable: view !== undefined,
    backends: [...snapshot.backends.values()]
      .filter((backend) => backend.region === region && backend.model === model)
      .map(({ id, name, kind, chip, plays, state, maxConcurrent }): BackendStanding => {
        const load = view?.loads[id];
        const health = view?.health[id];
        const standing = view?.standings[id];
        return {
          ...{ id, name, kind, chip, plays, maxConcurrent },
          configured: state,
          state: standing?.state ?? "unknown",
          reason: standing?.reason ?? null,
          sinceMs: standing?.sinceMs ?? null,
          placed: load?.placed ?? 0,
          running: load?.running ?? null,
          waiting: load?.waiting ?? null,
          cacheUsage: load?.cacheUsage ?? null,
          prefixHitShare: load?.prefixHitShare ?? null,
          prefillTokensPerSecond: load?.prefillTokensPerSecond ?? null,
          decodeTokensPerSecond: load?.decodeTokensPerSecond ?? null,
          failures: health?.failures ?? 0,
          ttftMs: health?.ttftMs || null,
          errorShare: health ? failureRate(health, nowMs) : null,
          restingUntilMs: future(health?.retryAtMs),
          ejectedUntilMs: future(health?.ejectedUntilMs),
          drainingUntilMs: future(health?.drainingUntilMs),
        };
      }),
  }));
}
