/**
 * What the router is asked and what it answers. Pure data: ids are plain strings, time comes from the caller, and
 * nothing here knows of Workers, of Node or of a network. It runs the same in the edge, in tests and in simulation.
 */
export interface RouteRequest {
  readonly model: string;
  /** The most tokens the prompt can be, and the most that will be generated. */
  readonly promptTokens: number;
  readonly maxOutput: number;
  /** Hashes of the prompt's blocks, for prefix caches; empty where nobody keeps an index yet. */
  readonly blocks: readonly string[];
  /** Separates prefix caches: the account. */
  readonly salt: string;
  /** Where the caller is, in the names of Durable Object location hints. */
  readonly edgeZone: string;
  readonly preferences: Preferences;
  /** Regions that may serve it; absent: any. */
  readonly residency?: readonly string[];
  /** Backends that were tried and failed. */
  readonly exclude: readonly string[];
  readonly budgetMs: number;
}

export interface Preferences {
  /** Only this region. */
  readonly region?: string;
}

export interface BackendView {
  readonly id: string;
  readonly region: string;
  readonly model: string;
  readonly state: "active" | "draining";
  /** Round trip from the edge, ms; undefined until somebody measured it. */
  readonly distanceMs?: number;
}

export interface Health {
  /** Failures in a row. */
  readonly failures: number;
  /** Not to be tried before, unless nothing else is left. */
  readonly retryAtMs: number;
}

export interface FleetView {
  /** Only goes up. */
  readonly version: number;
  readonly backends: readonly BackendView[];
  readonly health: Readonly<Record<string, Health>>;
}

export interface Placement {
  readonly prefill: string;
  readonly decode: string;
  readonly region: string;
  /** The sum of the terms, in seconds. */
  readonly cost: number;
  readonly terms: Readonly<Record<string, number>>;
}

/** How one attempt went, as far as routing cares. */
export interface Outcome {
  readonly backend: string;
  readonly kind: "served" | "failed";
}
