/**
 * What a view says of its backends, reckoned once for all decisions on it: everything that does not depend on the
 * request. A view that is kept (and not built anew for each request) pays for this once a change.
 */
import {
  ASSUMED_CONCURRENT,
  inFlight,
  isFull,
  queueSeconds,
  roomSeconds,
  SLOWING_AT_LIMIT,
  slowing,
  slowingOfOthers,
} from "./load.ts";
import { decodeRate, prefillRate } from "./rates.ts";
import type { BackendView, FleetView, Health } from "./types.ts";

/** Assumed until a distance was measured: a round trip across an ocean. */
const UNKNOWN_DISTANCE_MS = 150;
/** From here on a server begins to evict and to compute prompts again. */
const TIGHT_CACHE = 0.9;

export interface Candidate {
  readonly backend: BackendView;
  readonly id: string;
  /** Its place among those of its model, and its region's among the view's regions. */
  readonly position: number;
  readonly region: number;
  readonly isActive: boolean;
  /** Its own list of models lacks the one that it is to serve. */
  readonly lacksModel: boolean;
  readonly contextLength: number;
  readonly callsTools: boolean;
  readonly isFull: boolean;
  /** Until it would take one more, where it is full. */
  readonly roomSeconds: number;
  readonly distanceSeconds: number;
  readonly queueSeconds: number;
  readonly secondsAPromptToken: number;
  /** One stream's, and what each token of it costs all that run beside it. */
  readonly secondsAToken: number;
  readonly othersSecondsAToken: number;
  /** Both together, were it full. */
  readonly fullSecondsAToken: number;
  /** Requests there by its limit, at most 1. */
  readonly utilisation: number;
  /** How near its cache is to evicting, 0 to 1. */
  readonly tightness: number;
  /** USD a token. */
  readonly inputUsd: number;
  readonly cachedInputUsd: number;
  readonly outputUsd: number;
}

export interface Candidates {
  readonly regions: readonly string[];
  readonly byModel: ReadonlyMap<string, readonly Candidate[]>;
  /** By backend: its position within its model, and its region's place. */
  readonly positions: ReadonlyMap<string, number>;
  readonly regionOf: ReadonlyMap<string, number>;
}

export type Healths = readonly (Health | undefined)[];

const reckoned = new WeakMap<readonly BackendView[], Candidates>();

export function candidatesOf(backends: readonly BackendView[]): Candidates {
  let candidates = reckoned.get(backends);
  if (!candidates) reckoned.set(backends, (candidates = reckon(backends)));
  return candidates;
}

/**
 * Reckons `after`, a view's next backends, from those before: where the same backends stand in the same order, only
 * the records that are other objects than before are reckoned anew. Whether they are the same.
 */
export function candidatesAfter(before: readonly BackendView[], after: readonly BackendView[]): boolean {
  const isSame = areSame(before, after);
  const known = reckoned.get(before);
  if (!isSame || !known || reckoned.has(after)) return isSame;
  const { regions, positions, regionOf } = known;
  const byModel = new Map(known.byModel);
  const copied = new Map<string, Candidate[]>();
  for (let at = 0; at < after.length; at++) {
    const backend = after[at]!;
    if (backend === before[at]) continue;
    const { model, id } = backend;
    let candidates = copied.get(model);
    if (!candidates) {
      copied.set(model, (candidates = [...byModel.get(model)!]));
      byModel.set(model, candidates);
    }
    const position = positions.get(id)!;
    candidates[position] = candidate(backend, position, candidates[position]!.region);
  }
  reckoned.set(after, { regions, byModel, positions, regionOf });
  return true;
}

function areSame(before: readonly BackendView[], after: readonly BackendView[]): boolean {
  return (
    before.length === after.length &&
    before.every((old, at) => {
      const next = after[at]!;
      return old === next || (old.id === next.id && old.model === next.model && old.region === next.region);
    })
  );
}

interface Aligned {
  readonly candidates: readonly Candidate[];
  readonly healths: Healths;
}

const aligned = new WeakMap<FleetView["health"], Aligned>();

/** The health of each candidate, in their order: a thousand look-ups by name once a change, and not once a decision. */
export function healthsOf(candidates: readonly Candidate[], health: FleetView["health"]): Healths {
  const known = aligned.get(health);
  if (known && areInOrder(known.candidates, candidates)) return known.healths;
  const healths = candidates.map(({ id }) => health[id]);
  aligned.set(health, { candidates, healths });
  return healths;
}

/** The same after the health of these backends changed, from what was aligned before. */
export function healthsAfter(
  fleet: FleetView,
  backends: readonly string[],
  after: FleetView["health"],
): void {
  const known = aligned.get(fleet.health);
  const positions = reckoned.get(fleet.backends)?.positions;
  if (!known || !positions) return;
  const { candidates } = known;
  const healths = [...known.healths];
  for (const backend of backends) {
    const position = positions.get(backend);
    // One that serves another model has a position among others.
    if (position !== undefined && candidates[position]?.id === backend) healths[position] = after[backend];
  }
  aligned.set(after, { candidates, healths });
}

function areInOrder(before: readonly Candidate[], after: readonly Candidate[]): boolean {
  if (before === after) return true;
  return before.length === after.length && before.every(({ id }, at) => id === after[at]!.id);
}

function reckon(backends: readonly BackendView[]): Candidates {
  const regions = [...new Set(backends.map(({ region }) => region))];
  const regionAt = new Map(regions.map((region, at) => [region, at]));
  const byModel = new Map<string, Candidate[]>();
  const positions = new Map<string, number>();
  for (const backend of backends) {
    let candidates = byModel.get(backend.model);
    if (!candidates) byModel.set(backend.model, (candidates = []));
    positions.set(backend.id, candidates.length);
    candidates.push(candidate(backend, candidates.length, regionAt.get(backend.region)!));
  }
  const regionOf = new Map(backends.map(({ id, region }) => [id, regionAt.get(region)!]));
  return { regions, byModel, positions, regionOf };
}

function candidate(backend: BackendView, position: number, region: number): Candidate {
  const { id, state, contextLength, tools, distanceMs, cacheUsage, price } = backend;
  return {
    backend,
    id,
    position,
    region,
    isActive: state === "active",
    lacksModel: backend.lacksModel === true,
    contextLength: contextLength ?? Number.POSITIVE_INFINITY,
    callsTools: tools !== false,
    isFull: isFull(backend),
    roomSeconds: isFull(backend) ? roomSeconds(backend) : 0,
    distanceSeconds: (distanceMs ?? UNKNOWN_DISTANCE_MS) / 1000,
    queueSeconds: queueSeconds(backend),
    secondsAPromptToken: 1 / prefillRate(backend),
    secondsAToken: slowing(backend) / decodeRate(backend),
    othersSecondsAToken: slowingOfOthers(backend) / decodeRate(backend),
    fullSecondsAToken: (1 + 2 * SLOWING_AT_LIMIT) / decodeRate(backend),
    utilisation: Math.min(1, inFlight(backend) / (backend.maxConcurrent ?? ASSUMED_CONCURRENT)),
    tightness: tightness(cacheUsage),
    inputUsd: (price?.input ?? 0) / 1e6,
    cachedInputUsd: (price?.cachedInput ?? 0) / 1e6,
    outputUsd: (price?.output ?? 0) / 1e6,
  };
}

function tightness(cacheUsage: number | undefined): number {
  if (cacheUsage === undefined || !(cacheUsage > TIGHT_CACHE)) return 0;
  return (Math.min(1, cacheUsage) - TIGHT_CACHE) / (1 - TIGHT_CACHE);
}
