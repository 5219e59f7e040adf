/**
 * The seam between the edge and whoever holds money near it (DESIGN: lease). The first holder is the account's
 * own object; every call carries the lease and its epoch from the start, so that a later holder can stand nearer
 * to the caller. Arguments cross RPC between versions of the code: they are only ever added to.
 */
import type { TraceRecord } from "../dispatch/trace.ts";
import type { ApiError } from "../errors.ts";
import type { AccountId, AttemptId, KeyId, LeaseId, RequestId } from "../ids.ts";
import type { Nanodollars, PriceVersion, Usage } from "../money.ts";

/**
 * How a request ended. functions/billing/README.md says what each costs.
 * `expired` is the alarm's word: nobody settled before the deadline.
 */
export type Ending = "finished" | "client_left" | "backend_failed" | "refused" | "deadline" | "expired";

export interface AttemptRecord {
  readonly id: AttemptId;
  readonly backend: string;
  readonly region: string;
  readonly outcome: "served" | "refused" | "failed" | "timed_out" | "aborted";
  /** From the attempt's start to its first token, or to its failure, in milliseconds. */
  readonly ms: number;
  /** Why it was placed there: the terms of the router's cost, in seconds. */
  readonly terms?: Readonly<Record<string, number>>;
}

export interface AdmitQuery {
  readonly requestId: RequestId;
  /** SHA-256 of the key's secret, in hex. */
  readonly keyHash: string;
  readonly model: string;
  /** The most tokens that the prompt can be, and the most that the backend is told to generate. */
  readonly maxInput: number;
  readonly maxOutput: number;
  readonly price: PriceVersion;
  /** The first attempt's placement. */
  readonly backend: string;
  readonly region: string;
  /** Under whose law that region stands; null: nobody said. */
  readonly jurisdiction?: string | null;
  /** When the reservation may be expired, ms since the epoch. */
  readonly deadlineMs: number;
  /** The client's `Idempotency-Key`: what is asked under the same one runs once. */
  readonly once?: Once;
}

/** An `Idempotency-Key` as the holder knows it: two hashes, nothing of what was sent. */
export interface Once {
  /** Over the API key's hash and the header. */
  readonly id: string;
  /** Over method, path and body. */
  readonly fingerprint: string;
}

/** One window of a limit after this decision; surfaces write headers from it. */
export interface LimitState {
  readonly limit: number;
  readonly remaining: number;
  readonly resetMs: number;
}
export interface Limits {
  readonly requests?: LimitState;
  readonly tokens?: LimitState;
}

export type Admission =
  | {
      readonly ok: true;
      readonly account: AccountId;
      readonly key: KeyId;
      readonly leaseId: LeaseId;
      readonly epoch: number;
      readonly held: Nanodollars;
      readonly limits: Limits;
      /** Jurisdictions whose regions alone may serve this; absent: any. No request can widen it. */
      readonly residency?: readonly string[];
      /** When the key ends; absent: nobody set an end. A holder nearer to the caller admits nothing after it. */
      readonly keyExpiresAt?: number;
    }
  | {
      readonly ok: false;
      readonly error: ApiError;
      readonly limits?: Limits;
      /** Set where the placement was outside of it: route again within, and ask again. */
      readonly residency?: readonly string[];
    };

/** What the edge says at the end. The holder prices it with the rates that the reservation pinned. */
export interface Settlement {
  readonly requestId: RequestId;
  readonly leaseId: LeaseId;
  readonly epoch: number;
  readonly ending: Ending;
  readonly finishReason: string | null;
  readonly usage: Usage;
  /** The placement that served, or the last one tried. */
  readonly backend: string;
  readonly region: string;
  readonly attempts: readonly AttemptRecord[];
  /** From admission to the first token; null when none came. */
  readonly ttftMs: number | null;
  readonly durationMs: number;
  readonly trace?: TraceRecord;
  /** False: the client was given nothing of an answer, and may ask again under the same `Idempotency-Key`. */
  readonly delivered?: boolean;
}

export interface Receipt {
  /** False: it was settled or expired before, or was never open here. Nothing was posted now. */
  readonly posted: boolean;
  readonly cost: Nanodollars;
}

export interface Holder {
  admit(query: AdmitQuery): Promise<Admission>;
  /** A failover's new attempt, or a running count. Without effect once the reservation is settled. */
  checkpoint(at: {
    readonly requestId: RequestId;
    readonly attempt: AttemptId;
    readonly backend: string;
    readonly region: string;
    readonly usage?: Usage;
  }): Promise<void>;
  settle(settlement: Settlement): Promise<Receipt>;
}
