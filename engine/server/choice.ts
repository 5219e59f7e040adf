/**
 * One of an attempt's answers, between the scheduler's tokens and the client's deltas: tokens become text and tool
 * calls (tool-calls/parser.ts). What the attempt makes of its choices is generation.ts.
 */
import type { SequenceEnd, SequenceListener } from "../scheduler/sequence.ts";
import type { AnswerParser } from "../tool-calls/parser.ts";
import type { Generation } from "./generation.ts";

export class Choice implements SequenceListener {
  readonly index: number;
  readonly #generation: Generation;
  readonly #parser: AnswerParser;
  readonly #endTokens: ReadonlySet<number>;
  readonly #maxCalls: number;

  constructor(
    index: number,
    generation: Generation,
    parser: AnswerParser,
    options: { endTokens: ReadonlySet<number>; maxCalls: number },
  ) {
    this.index = index;
    this.#generation = generation;
    this.#parser = parser;
    this.#endTokens = options.endTokens;
    this.#maxCalls = options.maxCalls;
  }

  onStart(cachedTokens: number): void {
    this.#generation.onStart(this, cachedTokens);
  }

  onToken(token: number): "continue" | "stop" {
    const deltas = this.#endTokens.has(token) ? [] : this.#parser.push(token);
    this.#generation.onToken(this, deltas);
    return this.#parser.stopFound || this.#parser.endedCalls >= this.#maxCalls ? "stop" : "continue";
  }

  onEnd(end: SequenceEnd): void {
    if (end.kind !== "finished") {
      this.#generation.onBroken(end);
      return;
    }
    const deltas = this.#parser.stopFound ? [] : this.#parser.end();
    // Cut off at max_tokens, a call is not one to be made.
    const reason = end.reason === "stop" && this.#parser.calls > 0 ? "tool_calls" : end.reason;
    this.#generation.onFinished(this, deltas, reason);
  }
}
