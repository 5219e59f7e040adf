/**
 * What a dialect is: how one kind of inference server is spoken to, as data. All of them speak OpenAI's chat
 * completions; what differs is listed here, and small pure functions beside this file read the lists. What each
 * server really says was recorded (test/fixtures/recordings).
 */
import type { BackendKind } from "../../db/d1/schema.ts";
import type { AttemptId } from "../../ids.ts";
import type { OptionalField } from "../../surfaces/openai/schema.ts";

export interface Dialect {
  readonly kind: BackendKind;
  /** Whether it can be asked for an attempt's count by the attempt's id (engine/server/README.md). */
  readonly keepsAttempts: boolean;
  /** The fields that it serves beside those that all do; it gets no others. */
  readonly serves: readonly OptionalField[];
  /**
   * Whether it is asked for a running count on each chunk: what makes an aborted answer's bill exact. Such a count is
   * of the chunk's own choice; the last one is of all.
   */
  readonly runningCounts: boolean;
  /** Where the salt goes that separates accounts in its prefix cache; null where it knows none. */
  readonly cacheSalt: Place | null;
  /** Where the attempt's id goes, so that its logs and ours can be laid side by side. */
  readonly attemptId: Place | null;
  /** Where a usage object may hold these, the first that is there counts. */
  readonly cachedTokens: readonly Path[];
  readonly reasoningTokens: readonly Path[];
  /** What an answer other than 200, or an error event, means. The first rule that fits; without one: `failed`. */
  readonly refusals: readonly RefusalRule[];
  readonly abort: Abort;
  readonly health: HealthWords;
  readonly metrics: MetricWords | null;
}

export type Place = { readonly field: string } | { readonly header: string };

export type Path = readonly string[];

/**
 * `draining`: it finishes what it has and takes no more. `failed`: it is broken, or not set up for this.
 * The first two are the request's fault, and another backend would say the same.
 */
export type Meaning = "context_exceeded" | "invalid" | "overloaded" | "draining" | "failed";

export interface RefusalRule {
  readonly status: number;
  /** What the body says, where the status alone does not tell. */
  readonly says?: RegExp;
  readonly means: Meaning;
}

/** How an attempt is ended. The connection is closed in each case. */
export type Abort =
  | { readonly by: "closing" }
  /** DELETE of the attempt, which also gives its final count. */
  | { readonly by: "attempt" }
  | {
      readonly by: "closing_and_posting";
      readonly path: string;
      readonly body: (attempt: AttemptId) => Readonly<Record<string, unknown>>;
    };

export type HealthState = "up" | "draining" | "loading" | "down";

/** How its health is asked (fleet/probe.ts reads the answer). */
export interface HealthWords {
  readonly path: string;
  readonly bearer: boolean;
  /** How long an answer may take. */
  readonly limitMs: number;
  /** What each status means; any other, and no answer, is `down`. */
  readonly statuses: Readonly<Record<number, HealthState>>;
  /** Where the body, as JSON, says more than the status: the words in its `status`. */
  readonly words?: Readonly<Record<string, HealthState>>;
  /** Whether `up` proves that a new request would be served. False: only an attempt's outcome does. */
  readonly proves: boolean;
}

/**
 * Names in `/metrics` (fleet/metrics.ts reads it). Each is a list of alternatives, by version of the server: the
 * first of which there is a sample counts, and the names inside one alternative are added up.
 */
export interface MetricWords {
  readonly running: Alternatives;
  readonly waiting: Alternatives;
  /** How full the cache is, 0 to 1. */
  readonly cacheUse: Alternatives;
  /** Prompt tokens found in the prefix cache, and looked up there, since the start. */
  readonly prefixHits: Alternatives;
  readonly prefixQueries: Alternatives;
  /** Time that was spent decoding and the tokens of it; prompt tokens that were computed and the time of that. */
  readonly decodeSeconds: Alternatives;
  readonly decodeTokens: Alternatives;
  readonly prefillSeconds: Alternatives;
  readonly prefillTokens: Alternatives;
}

export type Alternatives = readonly (readonly string[])[];

/** What every compatible server is expected to mean by these. Rules of a dialect's own come before them. */
export const COMMON_REFUSALS: readonly RefusalRule[] = [
  { status: 400, says: /context_length_exceeded|maximum context length/, means: "context_exceeded" },
  { status: 422, says: /context_length_exceeded|maximum context length/, means: "context_exceeded" },
  { status: 400, means: "invalid" },
  { status: 422, means: "invalid" },
  { status: 429, means: "overloaded" },
  { status: 503, means: "overloaded" },
];
