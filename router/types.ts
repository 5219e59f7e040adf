/**
 * What the router is asked and what it answers. Pure data: ids are plain strings, time comes from the caller, and
 * nothing here knows of Workers, of Node or of a network. It runs the same in the edge, in tests and in simulation.
 */
import type { PrefixIndex } from "./prefix.ts";
import type { Sessions } from "./sessions.ts";

export interface RouteRequest {
  readonly model: string;
  /** The most tokens the prompt can be, and the most that will be generated. */
  readonly promptTokens: number;
  readonly maxOutput: number;
  /** What they are likely to be, for the cost and the context; absent: the bound, and a usual answer (cost.ts). */
  readonly expectedPromptTokens?: number;
  readonly expectedOutput?: number;
  /** Chained hashes of the prompt's blocks (blocks.ts), and a block's tokens; empty where nobody keeps an index. */
  readonly blocks: readonly string[];
  readonly blockTokens?: number;
  /** Separates prefix caches and sessions: the account. */
  readonly salt: string;
  /** The caller's name for a conversation, compared whole. Says where its cache may be; pins nothing. */
  readonly session?: string;
  /** Where the caller is, in the names of Durable Object location hints. Whoever fills `distanceMs` reads it. */
  readonly edgeZone: string;
  /** Whether it brings tools. */
  readonly tools?: boolean;
  readonly preferences: Preferences;
  /** Regions that may serve it; absent: any. Of the account or its key: no preference widens it. */
  readonly residency?: readonly string[];
  /** Backends that were tried and failed. */
  readonly exclude: readonly string[];
  /** Time left until the caller gives up. A backend that would give its first token later is over its limit. */
  readonly budgetMs: number;
  /** false: others may serve it, so nothing that rests is tried when all here do (a pool that is asked after another). */
  readonly lastResort?: boolean;
}

/** The caller's wishes, spelt as OpenRouter's `provider` object. Names are of backends or regions, compared whole. */
export interface Preferences {
  /** Only this region. */
  readonly region?: string;
  /** These first, in this order. */
  readonly order?: readonly string[];
  readonly only?: readonly string[];
  readonly ignore?: readonly string[];
  /** false: nothing beyond `order`; without `order`, the best placement alone. */
  readonly allow_fallbacks?: boolean;
  /** Ranks by one matter (and health) instead of by the whole cost. */
  readonly sort?: "price" | "throughput" | "latency";
}

export type Chip = "gpu" | "npu" | "cpu";

/** USD a million tokens. */
export interface BackendPrice {
  readonly input: number;
  readonly cachedInput: number;
  readonly output: number;
}

/** One backend as a decision sees it. What is absent was not measured; cost.ts and rates.ts say what is assumed. */
export interface BackendView {
  readonly id: string;
  /** What people call it; preferences may use it. */
  readonly name?: string;
  readonly region: string;
  readonly model: string;
  readonly state: "active" | "draining";
  /** true: its own list of models lacks the one that it is to serve. */
  readonly lacksModel?: boolean;
  /** Round trip from the edge, ms; undefined until somebody measured it. */
  readonly distanceMs?: number;

  readonly chip?: Chip;
  /** What a simulated region plays; it goes before `chip`. */
  readonly plays?: Chip | null;
  /** Prompt and output together, tokens; absent: as much as is asked. */
  readonly contextLength?: number;
  /** false: it cannot call tools. */
  readonly tools?: boolean;
  /** What a request costs there, now (times of day are the filler's). Absent: no matter. */
  readonly price?: BackendPrice;

  /** The pool's count: placed there and not finished. */
  readonly placed?: number;
  /** The server's own gauges. */
  readonly running?: number;
  readonly waiting?: number;
  /** Share of its key-value cache in use, 0 to 1. */
  readonly cacheUsage?: number;
  /** The pool's count: uncached prompt tokens placed there whose first token has not come. */
  readonly pendingPrefillTokens?: number;
  /** Requests that it runs at once, and that may wait beyond those; absent: no limit, and as many again. */
  readonly maxConcurrent?: number;
  readonly maxWaiting?: number;
  /** Measured alone: prompt tokens a second, and tokens a second of one stream. */
  readonly prefillTokensPerSecond?: number;
  readonly decodeTokensPerSecond?: number;
}

/** What outcomes taught of one backend (health.ts). Every count fades by itself. Times are the caller's clock, ms. */
export interface Health {
  /** Failures in a row. */
  readonly failures: number;
  /** The breaker: 0 closed; later than now, open; passed, half-open. */
  readonly retryAtMs: number;
  readonly openedAtMs: number;
  /** Rests in a row: the exponent of the next. */
  readonly rests: number;
  /** When the one probe that a half-open backend gets was sent; 0: none is under way. */
  readonly probeAtMs: number;
  readonly failedAtMs: number;
  /** What the last failure cost its caller, ms; and what a failure counts for, seconds. */
  readonly failureMs: number;
  readonly failureSeconds: number;
  /** Attempts that were served and that failed, fading with a half-life, as of `countedAtMs`. */
  readonly served: number;
  readonly failed: number;
  readonly countedAtMs: number;
  /** Time to first token: a moving mean, and the slowest success lately (fading). */
  readonly ttftMs: number;
  readonly slowestMs: number;
  /** The first attempt since its last sign of life; 0: none is waiting. */
  readonly askedAtMs: number;
  readonly ejectedUntilMs: number;
  readonly ejections: number;
  /** It said so: busy (429, 503 with Retry-After), or draining. */
  readonly busyUntilMs: number;
  readonly drainingUntilMs: number;
}

export interface FleetView {
  /** Only goes up, with every change. */
  readonly version: number;
  /** The version of the snapshot that `backends` came from (fleet.ts). */
  readonly snapshot?: number;
  readonly backends: readonly BackendView[];
  readonly health: Readonly<Record<string, Health>>;
  /** How old the counts of load are, ms; absent: they are exact, as where the pool itself decides. */
  readonly loadAgeMs?: number;
  readonly prefixes?: PrefixIndex;
  readonly sessions?: Sessions;
  /** The exchange rate of the price term (cost.ts). */
  readonly secondsPerUsd?: number;
}

export interface Placement {
  readonly prefill: string;
  readonly decode: string;
  readonly region: string;
  /** The sum of the terms, in seconds. */
  readonly cost: number;
  readonly terms: Readonly<Record<string, number>>;
  /** Prompt tokens that it is believed to have cached. */
  readonly cachedTokens: number;
}

/**
 * How one attempt went, as far as routing cares. `served`: its first token came. `failed`: an error, a closed
 * connection, a stream that was cut. `silent`: accepted, and no token in time. `refused`: busy, nothing done.
 * `draining`: it takes nothing new. `left`: ended for a reason of the caller's; says nothing of the backend.
 */
export interface Outcome {
  readonly backend: string;
  readonly kind: "served" | "failed" | "silent" | "refused" | "draining" | "left";
  /** From sending to the first token, or to the failure where none came; absent for a stream that was cut later. */
  readonly waitedMs?: number;
  /** What a refusal said, ms. */
  readonly retryAfterMs?: number;
}
