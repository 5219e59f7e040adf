/**
 * Between the scheduler's tokens and the client's text, for one attempt: counts tokens, makes characters of them,
 * looks for stop strings, and passes the end on. The attempt is final before the answer ends, so that whoever has
 * seen the end finds the final count.
 */
import type { SequenceEnd, SequenceListener } from "../scheduler/sequence.ts";
import { Detokenizer } from "../tokenizer/detokenizer.ts";
import { StopStrings } from "../tokenizer/stop-strings.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { Answer } from "./answer.ts";
import type { Attempt, AttemptProblem, Attempts } from "./attempts.ts";
import { ApiError } from "./error.ts";

export class Generation implements SequenceListener {
  readonly #attempts: Attempts;
  readonly #attempt: Attempt;
  readonly #answer: Answer;
  readonly #promptTokens: number;
  readonly #endTokens: ReadonlySet<number>;
  readonly #detokenizer: Detokenizer;
  readonly #stops: StopStrings;
  /** Why it is being aborted, set before the scheduler is told. */
  problem: AttemptProblem | undefined;

  constructor(options: {
    attempts: Attempts;
    attempt: Attempt;
    answer: Answer;
    promptTokens: number;
    endTokens: ReadonlySet<number>;
    tokenizer: Tokenizer;
    stops: readonly string[];
  }) {
    this.#attempts = options.attempts;
    this.#attempt = options.attempt;
    this.#answer = options.answer;
    this.#promptTokens = options.promptTokens;
    this.#endTokens = options.endTokens;
    this.#detokenizer = new Detokenizer(options.tokenizer);
    this.#stops = new StopStrings(options.stops);
  }

  onStart(): void {
    this.#attempts.start(this.#attempt, this.#promptTokens);
  }

  onToken(token: number): "continue" | "stop" {
    this.#attempt.completionTokens++;
    const text = this.#endTokens.has(token) ? "" : this.#stops.push(this.#detokenizer.push(token));
    this.#answer.token(text);
    return this.#stops.found ? "stop" : "continue";
  }

  onEnd(end: SequenceEnd): void {
    if (end.kind === "finished") {
      const rest = this.#stops.push(this.#detokenizer.end()) + this.#stops.end();
      this.#attempts.end(this.#attempt, { state: "done", finishReason: end.reason });
      this.#answer.finish(rest, end.reason, this.#attempt);
      return;
    }
    if (end.kind === "failed") console.error(`attempt ${this.#attempt.id} failed:`, end.error);
    const error = this.problem ?? {
      code: "engine_error",
      message: "The engine could not go on with this attempt.",
    };
    this.#attempts.end(this.#attempt, { state: end.kind, error });
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
