/** The view itself: where it starts, how a newer snapshot gets in, and how its backends change. */
import { candidatesAfter, healthsAfter } from "./candidates.ts";
import type { BackendView, FleetView } from "./types.ts";

/** Anything that is told in versions which only go up at its source. */
export interface Versioned {
  readonly version: number;
}

/** What is known of the fleet from elsewhere. */
export interface Snapshot extends Versioned {
  readonly backends: readonly BackendView[];
}

export const NOTHING_KNOWN: FleetView = { version: 0, backends: [], health: {} };

/**
 * The one rule for whatever comes from elsewhere, in whatever order: an older one, the same one or none changes
 * nothing. The last known good stays, and versions only go up.
 */
export function lastKnown<T extends Versioned>(known: T | undefined, offered: T | undefined): T | undefined {
  return offered && offered.version > (known?.version ?? -1) ? offered : known;
}

/** The view with a newer snapshot, or the same view (`lastKnown`). */
export function adopt(fleet: FleetView, offered: Snapshot | undefined): FleetView {
  const known = { version: fleet.snapshot ?? -1, backends: fleet.backends };
  const { version, backends } = lastKnown<Snapshot>(known, offered) ?? known;
  return backends === fleet.backends ? fleet : { ...withBackends(fleet, backends), snapshot: version };
}

/**
 * The view with these backends. What outcomes taught stays for those that are still there, and goes with the others.
 * What a decision reckons of a backend is kept where the backend's record is the same one as before, so hand in the
 * old records where nothing changed.
 */
export function withBackends(fleet: FleetView, backends: readonly BackendView[]): FleetView {
  if (backends === fleet.backends) return fleet;
  const isSame = candidatesAfter(fleet.backends, backends);
  const health = isSame ? fleet.health : healthOf(fleet, backends);
  return { ...fleet, version: fleet.version + 1, backends, health };
}

/** The view with these backends' health as somebody else learnt it: a pool's, where an edge keeps the fleet's. */
export function withHealth(fleet: FleetView, learnt: FleetView["health"]): FleetView {
  const health = { ...fleet.health, ...learnt };
  healthsAfter(fleet, Object.keys(learnt), health);
  return { ...fleet, version: fleet.version + 1, health };
}

function healthOf({ health }: FleetView, backends: readonly BackendView[]): FleetView["health"] {
  const known = backends.filter(({ id }) => health[id] !== undefined);
  return Object.fromEntries(known.map(({ id }) => [id, health[id]!]));
}
