/**
 * What became of every attempt: the memory behind `/causeway/v1/attempts`. Bills are made from these counts, so a
 * final report never changes, and an attempt ends exactly once. README.md says what each field means.
 */
import { strict as assert } from "node:assert";

export type AttemptState = "queued" | "running" | "done" | "aborted" | "failed" | "unknown";
export type FinishReason = "stop" | "length" | "tool_calls";

export interface AttemptProblem {
  readonly code: string;
  readonly message: string;
}

export interface AttemptReport {
  readonly id: string;
  readonly state: AttemptState;
  readonly prompt_tokens: number;
  readonly cached_tokens: number;
  readonly completion_tokens: number;
  /** Choice 0's. */
  readonly finish_reason: FinishReason | null;
  /** Each choice's, in their order. */
  readonly finish_reasons: readonly FinishReason[] | null;
  readonly boot_id: string;
  readonly model: string | null;
  readonly error: AttemptProblem | null;
}

/** Reports outlive their attempt by this, and its deadline by as much. */
export const retentionMs = 30 * 60_000;
/** About 400 bytes each. */
export const maxEndedAttempts = 65_536;
/** How long a question about an id that was not seen yet waits for it. */
export const arrivalPatienceMs = 5_000;

type Status =
  | { readonly state: "queued" | "running" }
  | { readonly state: "done"; readonly finishReasons: readonly FinishReason[] }
  | { readonly state: "aborted" | "failed"; readonly error: AttemptProblem };

export class Attempt {
  readonly id: string;
  readonly deadlineAtMs: number;
  promptTokens = 0;
  cachedTokens = 0;
  completionTokens = 0;
  status: Status = { state: "queued" };
  /** Called when the attempt has ended, after its counts are final. */
  readonly whenEnded = new Set<() => void>();
  /** Set by whoever runs it. Ends the attempt before it returns. */
  abort: (problem: AttemptProblem) => void = () => {};

  constructor(id: string, deadlineAtMs: number) {
    this.id = id;
    this.deadlineAtMs = deadlineAtMs;
  }

  get ended(): boolean {
    return this.status.state !== "queued" && this.status.state !== "running";
  }
}

export class Attempts {
  readonly bootId: string;
  /** The model's id, once it is known. */
  model: string | null = null;
  readonly #now: () => number;
  readonly #attempts = new Map<string, Attempt>();
  /** Ended attempts and when they may be forgotten, in the order of their ends. */
  readonly #ended = new Map<Attempt, number>();
  readonly #arrivals = new Map<string, Set<(attempt: Attempt) => void>>();

  /** now: milliseconds of any clock that does not go back. */
  constructor(bootId: string, now: () => number) {
    this.bootId = bootId;
    this.#now = now;
  }

  find(id: string): Attempt | undefined {
    return this.#attempts.get(id);
  }

  /** Those that have not ended. */
  *open(): Iterable<Attempt> {
    for (const attempt of this.#attempts.values()) if (!attempt.ended) yield attempt;
  }

  /** Takes an id that find() does not know. deadlineAtMs: on this registry's clock; its retention counts from there. */
  begin(id: string, deadlineAtMs: number): Attempt {
    assert(!this.#attempts.has(id), "attempt ids are taken once");
    this.#forgetOld();
    const attempt = new Attempt(id, deadlineAtMs);
    this.#attempts.set(id, attempt);
    for (const arrived of this.#arrivals.get(id) ?? []) arrived(attempt);
    this.#arrivals.delete(id);
    return attempt;
  }

  start(attempt: Attempt, promptTokens: number, cachedTokens: number): void {
    assert(attempt.status.state === "queued");
    assert(cachedTokens < promptTokens, "at least one token of a prompt is computed");
    attempt.promptTokens = promptTokens;
    attempt.cachedTokens = cachedTokens;
    attempt.status = { state: "running" };
  }

  end(attempt: Attempt, status: Exclude<Status, { state: "queued" | "running" }>): void {
    assert(!attempt.ended, "an attempt ends once");
    attempt.status = status;
    attempt.abort = () => {};
    this.#ended.set(attempt, Math.max(this.#now(), attempt.deadlineAtMs) + retentionMs);
    for (const listener of attempt.whenEnded) listener();
    attempt.whenEnded.clear();
  }

  /** Aborts what runs, marks what has not come, leaves what has ended. */
  abort(id: string, problem: AttemptProblem): AttemptReport {
    const attempt = this.find(id);
    if (attempt) {
      attempt.abort(problem);
      assert(attempt.ended, "an abort takes effect at once");
    } else {
      this.end(this.begin(id, this.#now()), { state: "aborted", error: problem });
    }
    return this.report(id);
  }

  report(id: string): AttemptReport {
    const attempt = this.find(id);
    const status = attempt?.status;
    return {
      id,
      state: status?.state ?? "unknown",
      prompt_tokens: attempt?.promptTokens ?? 0,
      cached_tokens: attempt?.cachedTokens ?? 0,
      completion_tokens: attempt?.completionTokens ?? 0,
      finish_reason: status?.state === "done" ? (status.finishReasons[0] ?? null) : null,
      finish_reasons: status?.state === "done" ? status.finishReasons : null,
      boot_id: this.bootId,
      model: this.model,
      error: status?.state === "aborted" || status?.state === "failed" ? status.error : null,
    };
  }

  /** Calls back once, with the report at the attempt's end or with `unknown`. Returns what cancels the wait. */
  waitForEnd(id: string, callback: (report: AttemptReport) => void): () => void {
    const attempt = this.find(id);
    if (attempt) return this.#waitFor(attempt, callback);
    let cancel = () => {
      clearTimeout(patience);
      this.#dropArrival(id, arrived);
    };
    const arrived = (come: Attempt) => {
      clearTimeout(patience);
      cancel = this.#waitFor(come, callback);
    };
    const patience = setTimeout(() => {
      this.#dropArrival(id, arrived);
      callback(this.report(id));
    }, arrivalPatienceMs);
    const waiting = this.#arrivals.get(id) ?? new Set();
    this.#arrivals.set(id, waiting.add(arrived));
    return () => cancel();
  }

  #waitFor(attempt: Attempt, callback: (report: AttemptReport) => void): () => void {
    const answer = () => callback(this.report(attempt.id));
    if (attempt.ended) {
      answer();
      return () => {};
    }
    attempt.whenEnded.add(answer);
    return () => attempt.whenEnded.delete(answer);
  }

  #dropArrival(id: string, arrived: (attempt: Attempt) => void): void {
    const waiting = this.#arrivals.get(id);
    waiting?.delete(arrived);
    if (waiting?.size === 0) this.#arrivals.delete(id);
  }

  /** From the oldest end on. One with a far deadline keeps those behind it a little longer; the count bounds them all. */
  #forgetOld(): void {
    const now = this.#now();
    for (const [attempt, untilMs] of this.#ended) {
      if (untilMs > now && this.#ended.size < maxEndedAttempts) return;
      this.#ended.delete(attempt);
      this.#attempts.delete(attempt.id);
    }
  }
}
