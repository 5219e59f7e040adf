/** The view itself: where it starts, and how a newer snapshot gets in. */
import type { BackendView, FleetView } from "./types.ts";

/** What is known of the fleet from elsewhere. */
export interface Snapshot {
  /** Only goes up, at its source. */
  readonly version: number;
  readonly backends: readonly BackendView[];
}

export const NOTHING_KNOWN: FleetView = { version: 0, backends: [], health: {} };

/**
 * The view with a newer snapshot. An older one, the same one or none changes nothing: the last known good stays, and
 * versions only go up. What outcomes taught stays for backends that are still there.
 */
export function adopt(fleet: FleetView, offered: Snapshot | undefined): FleetView {
  if (!offered || offered.version <= (fleet.snapshot ?? -1)) return fleet;
  const { version, backends } = offered;
  const known = backends.filter(({ id }) => fleet.health[id] !== undefined);
  const health = Object.fromEntries(known.map(({ id }) => [id, fleet.health[id]!]));
  return { ...fleet, version: fleet.version + 1, snapshot: version, backends, health };
}
