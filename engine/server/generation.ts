/**
 * One attempt at work: its choices' tokens are counted and timed, their deltas passed to the answer, and their ends
 * become the attempt's one end. The attempt is final before the answer ends, so that whoever has seen the end finds
 * the final count.
 */
import type { SequenceEnd } from "../scheduler/sequence.ts";
import type { Delta } from "../tool-calls/parser.ts";
import type { Answer } from "./answer.ts";
import type { Attempt, AttemptProblem, Attempts, FinishReason } from "./attempts.ts";
import type { Choice } from "./choice.ts";
import { ApiError } from "./error.ts";
import type { Metrics } from "./metrics.ts";

export class Generation {
  readonly #attempts: Attempts;
  readonly #attempt: Attempt;
  readonly #answer: Answer;
  readonly #metrics: Metrics;
  readonly #now: () => number;
  readonly #receivedAtMs: number;
  readonly #promptTokens: number;
  /** The reason of each choice that has ended. */
  readonly #reasons: (FinishReason | undefined)[];
  /** When each choice's last token came. */
  readonly #lastAtMs: number[] = [];
  /** Ends the choices' sequences; set by whoever starts them. */
  stopSequences: () => void = () => {};

  constructor(options: {
    attempts: Attempts;
    attempt: Attempt;
    answer: Answer;
    metrics: Metrics;
    /** Milliseconds of a clock that does not go back. */
    now: () => number;
    receivedAtMs: number;
    promptTokens: number;
    choices: number;
  }) {
    this.#attempts = options.attempts;
    this.#attempt = options.attempt;
    this.#answer = options.answer;
    this.#metrics = options.metrics;
    this.#now = options.now;
    this.#receivedAtMs = options.receivedAtMs;
    this.#promptTokens = options.promptTokens;
    this.#reasons = new Array(options.choices).fill(undefined);
  }

  /** A prompt that several choices share is counted once, as the first one met it. */
  onStart(_choice: Choice, cachedTokens: number): void {
    if (this.#attempt.status.state !== "queued") return;
    this.#attempts.start(this.#attempt, this.#promptTokens, cachedTokens);
    this.#metrics.prompt(this.#promptTokens, cachedTokens);
  }

  onToken(choice: Choice, deltas: readonly Delta[]): void {
    this.#attempt.completionTokens++;
    this.#time(choice.index);
    this.#answer.token(choice.index, deltas);
  }

  #time(choice: number): void {
    const now = this.#now();
    const last = this.#lastAtMs[choice];
    this.#lastAtMs[choice] = now;
    this.#metrics.token();
    if (this.#attempt.completionTokens === 1) this.#metrics.firstToken(now - this.#receivedAtMs);
    else if (last !== undefined) this.#metrics.nextToken(now - last);
  }

  onFinished({ index }: Choice, deltas: readonly Delta[], reason: FinishReason): void {
    this.#metrics.end(reason);
    this.#reasons[index] = reason;
    const reasons = this.#reasons.filter((each) => each !== undefined);
    const whole = reasons.length === this.#reasons.length;
    if (whole) this.#attempts.end(this.#attempt, { state: "done", finishReasons: reasons });
    this.#answer.finish(index, deltas, reason);
    if (whole) this.#answer.end(this.#attempt);
  }

  /** A sequence ended otherwise: by abort() below, or by itself, and then the others end with it. */
  onBroken(end: Exclude<SequenceEnd, { kind: "finished" }>): void {
    this.#metrics.end(end.kind === "failed" ? "error" : "abort");
    if (end.kind !== "failed" || this.#attempt.ended) return;
    console.error(`attempt ${this.#attempt.id} failed:`, end.error);
    this.#break("failed", {
      code: "engine_error",
      message: "The engine could not go on with this attempt.",
    });
  }

  abort(problem: AttemptProblem): void {
    if (!this.#attempt.ended) this.#break("aborted", problem);
  }

  #break(state: "aborted" | "failed", error: AttemptProblem): void {
    this.#attempts.end(this.#attempt, { state, error });
    this.stopSequences();
    this.#answer.fail(answerError(error));
  }
}

/** What the POST answers when its attempt ended so before anything was written. */
function answerError({ code, message }: AttemptProblem): ApiError {
  switch (code) {
    case "deadline_exceeded":
      return new ApiError(504, code, message);
    case "shutting_down":
      return new ApiError(503, code, message, { retryAfterSeconds: 1 });
    case "engine_error":
      return new ApiError(500, code, message);
    default:
      return new ApiError(409, "attempt_aborted", message);
  }
}
