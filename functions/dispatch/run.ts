/** What the edge knows of one request while it runs. */
import type { Explanation } from "../../router/place.ts";
import type { Admission, AttemptRecord, Ending, Holder } from "../admission/holder.ts";
import type { Env } from "../env.ts";
import type { ApiError } from "../errors.ts";
import type { Ask } from "../fleet/route.ts";
import type { Backend, Model, Snapshot } from "../fleet/snapshot.ts";
import type { AttemptId, RequestId } from "../ids.ts";
import type { PriceVersion, Usage } from "../money.ts";
import type { PoolName } from "../objects/pool.ts";
import type { Answer } from "../surfaces/openai/encode.ts";
import type { ChatRequest } from "../surfaces/openai/schema.ts";
import type { Bound } from "../usage/plausible.ts";
import type { Meaning } from "./dialects/dialect.ts";
import type { AttemptReport } from "./report.ts";
import type { Trace } from "./trace.ts";

export type Admitted = Extract<Admission, { ok: true }>;

export interface Run {
  readonly env: Env;
  readonly waitUntil: (work: Promise<unknown>) => void;
  readonly requestId: RequestId;
  readonly request: ChatRequest;
  readonly model: Model;
  readonly price: PriceVersion;
  readonly bound: Bound;
  readonly view: Snapshot;
  readonly ask: Ask;
  /** What the admission was told; the pool may know better. */
  readonly predicted: Backend;
  readonly holder: Holder;
  readonly admitted: Admitted;
  readonly answer: Answer;
  readonly startedAt: number;
  readonly deadlineAt: number;
  /** Ends whatever is going on for this request; its reason is a StopReason. */
  readonly stop: AbortController;
  /** Grows: one record an attempt, in order. */
  readonly attempts: AttemptRecord[];
  ttftMs: number | null;
  /** When what happened, and who else could have served. */
  readonly trace: Trace;
  /** For a client that asks why: the ranking as it stood before the first attempt. */
  readonly explanation: Explanation | undefined;
  /** The place that the present attempt has in a pool. */
  slot: { readonly pool: PoolName; readonly backend: Backend; readonly attempt: AttemptId } | undefined;
  /** The answer has ended: its deadline need not ring any more, and its place is free. */
  readonly over: (end: End) => void;
}

/** `silence`: the backend's process gives no sign of life. */
export type StopReason = "client_left" | "deadline" | "silence";

/** How an answer ended at the edge: what is settled, and what the client is told if it failed. */
export interface End {
  readonly ending: Ending;
  readonly usage: Usage;
  /** Why each choice ended, in their order; empty where the answer did not finish. */
  readonly finishReasons: readonly FinishReason[];
  readonly error?: ApiError;
}

export const FINISH_REASONS = ["stop", "length", "tool_calls", "content_filter"] as const;
export type FinishReason = (typeof FINISH_REASONS)[number];

/** A piece of one choice of the answer. */
export interface Delta {
  readonly type: "delta";
  /** Which answer, from 0. */
  readonly choice: number;
  readonly text?: string;
  readonly reasoning?: string;
  readonly tool?: ToolDelta;
}

/** A piece of a call. Its first has id and name; the index counts the calls of a choice from 0. */
export interface ToolDelta {
  readonly index: number;
  readonly id?: string;
  readonly name?: string;
  readonly arguments: string;
}

/** What every dialect becomes. `[DONE]` is no event: a stream that ends without a finish a choice has failed. */
export type EngineEvent =
  | Delta
  | { readonly type: "finish"; readonly choice: number; readonly reason: FinishReason }
  | {
      readonly type: "usage";
      /** False: a running count, of what came so far. */
      readonly final: boolean;
      /** Set: the output is of this choice alone. */
      readonly choice?: number;
      /** How many deltas, of those that follow, came with it and are in it. */
      readonly covers: number;
      readonly claimed: {
        promptTokens: unknown;
        cachedTokens: unknown;
        completionTokens: unknown;
        reasoningTokens: unknown;
      };
    }
  | {
      readonly type: "error";
      readonly message: string;
      /** No token for too long. */
      readonly late?: true;
      /** Where the backend itself said that something is wrong: what that means. */
      readonly means?: Meaning;
    };

/** An attempt that has its first token. */
export type Opened = {
  readonly backend: Backend;
  readonly attempt: AttemptId;
  /** Ends its connection: a backend that is given up must not go on. */
  readonly close: () => void;
} & (
  | {
      readonly kind: "relay";
      readonly body: ReadableStream<Uint8Array>;
      readonly report: Promise<AttemptReport | undefined>;
    }
  | {
      readonly kind: "events";
      /** What came up to the first token, and with it. */
      readonly first: readonly EngineEvent[];
      readonly rest: AsyncIterator<readonly EngineEvent[]>;
    }
);

export type Opening =
  | { readonly ok: true; readonly opened: Opened }
  | { readonly ok: false; readonly error: ApiError };
