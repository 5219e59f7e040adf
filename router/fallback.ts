/**
 * Where to go when the pool that counts cannot be asked: rendezvous hashing with bounded load on the last known
 * view. Every edge chooses the same backend for the same key without a word to the others, so caches stay warm, and
 * none gets more than its share and a quarter.
 * Sources: Thaler and Ravishankar 1996 (rendezvous); Mirrokni, Thorup and Zadimoghaddam 2016 (bounded loads).
 */
import { candidatesOf } from "./candidates.ts";
import { boundsOf, whyNot } from "./filter.ts";
import { hash53 } from "./hash.ts";
import { ASSUMED_CONCURRENT, inFlight } from "./load.ts";
import { BEST } from "./place.ts";
import type { BackendView, FleetView, Placement, RouteRequest } from "./types.ts";

/** How far above the mean a load may be. */
export const EPSILON = 0.25;

/**
 * Placements in the order of the key's hashes, those under the bound alone. A backend's share follows its
 * `maxConcurrent`. `placed` is what the caller itself sent since the view was taken, by backend. The terms are the
 * rank by hash, and the load over what is allowed; the cost is the rank, and no time.
 */
export function fallback(
  request: RouteRequest,
  fleet: FleetView,
  key: string,
  nowMs: number,
  placed: ReadonlyMap<string, number> = new Map(),
): readonly Placement[] {
  const { regions, byModel } = candidatesOf(fleet.backends);
  const bounds = boundsOf(request, regions);
  const open = (byModel.get(request.model) ?? [])
    .filter((candidate) => whyNot(candidate, bounds, fleet.health[candidate.id], nowMs) === undefined)
    .map(({ backend }) => backend);
  const loadOf = (backend: BackendView) => inFlight(backend) + (placed.get(backend.id) ?? 0);
  const capacity = open.reduce((sum, backend) => sum + weightOf(backend), 0);
  const load = open.reduce((sum, backend) => sum + loadOf(backend), 0);
  return open
    .map((backend) => {
      const allowed = Math.ceil(((1 + EPSILON) * (load + 1) * weightOf(backend)) / capacity);
      return { backend, rank: rendezvous(key, backend), load: loadOf(backend), allowed };
    })
    .filter((candidate) => candidate.load < candidate.allowed)
    .sort((a, b) => a.rank - b.rank)
    .slice(0, BEST)
    .map(({ backend: { id, region }, load, allowed }, rank) => {
      return {
        prefill: id,
        decode: id,
        region,
        cost: rank,
        terms: { rank, load: load / allowed },
        cachedTokens: 0,
      };
    });
}

/** Weighted rendezvous: the smallest of -ln(u) / weight wins with a chance in proportion to its weight. */
function rendezvous(key: string, backend: BackendView): number {
  const unit = (hash53(backend.id, hash53(key)) + 0.5) / 2 ** 53;
  return -Math.log(unit) / weightOf(backend);
}

function weightOf(backend: BackendView): number {
  return backend.maxConcurrent ?? ASSUMED_CONCURRENT;
}
