/**
 * Ranks the backends that may serve a request, cheapest first. Each term is in seconds and named in the placement,
 * so that an answer can say why it ran where it ran.
 */
import { isResting, REST_PENALTY_SECONDS } from "./health.ts";
import type { BackendView, FleetView, Placement, RouteRequest } from "./types.ts";

/** Assumed until a distance was measured: a round trip across an ocean. */
const UNKNOWN_DISTANCE_MS = 150;
/** Ties are broken by chance within this, so that equal backends share the work. */
const TIE_SECONDS = 0.001;

export function place(
  request: RouteRequest,
  fleet: FleetView,
  nowMs: number,
  random: () => number,
): readonly Placement[] {
  return fleet.backends
    .filter((backend) => mayServe(backend, request))
    .map((backend) => score(backend, fleet, nowMs, random))
    .sort((a, b) => a.cost - b.cost);
}

function mayServe(backend: BackendView, request: RouteRequest): boolean {
  return (
    backend.model === request.model &&
    backend.state === "active" &&
    !request.exclude.includes(backend.id) &&
    (request.preferences.region === undefined || backend.region === request.preferences.region) &&
    (request.residency === undefined || request.residency.includes(backend.region))
  );
}

function score(backend: BackendView, fleet: FleetView, nowMs: number, random: () => number): Placement {
  const terms = {
    distance: (backend.distanceMs ?? UNKNOWN_DISTANCE_MS) / 1000,
    // A backend that rests stays in the list: when all of them do, trying one is better than refusing.
    health: isResting(fleet.health[backend.id], nowMs) ? REST_PENALTY_SECONDS : 0,
    tie: random() * TIE_SECONDS,
  };
  const cost = terms.distance + terms.health + terms.tie;
  return { prefill: backend.id, decode: backend.id, region: backend.region, cost, terms };
}
