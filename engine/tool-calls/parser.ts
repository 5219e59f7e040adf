/**
 * A model's tokens to text and tool calls, as they come: a state machine over the tool tokens, with the text between
 * them. Each token costs its own length. A call is told once its name is whole; its arguments are passed on as the
 * model writes them, unchecked.
 */
import { randomBytes } from "node:crypto";
import type { Detokenizer } from "../tokenizer/detokenizer.ts";
import type { StopStrings } from "../tokenizer/stop-strings.ts";
import type { ToolTokens } from "./tokens.ts";

export type Delta =
  | { readonly kind: "content"; readonly text: string }
  /** index: of the call in its answer, from 0. */
  | { readonly kind: "call"; readonly index: number; readonly id: string; readonly name: string }
  | { readonly kind: "arguments"; readonly index: number; readonly text: string };

/** Where the next text belongs; between calls it belongs nowhere. */
type State = "content" | "between" | "name" | "arguments";

export class AnswerParser {
  readonly #tokens: ToolTokens | undefined;
  readonly #detokenizer: Detokenizer;
  readonly #stops: StopStrings;
  #state: State = "content";
  #name = "";
  #calls = 0;
  #endedCalls = 0;
  #hasArguments = false;

  /** tokens: nothing where special tokens are to be passed over. stops: looked for in the content only. */
  constructor(tokens: ToolTokens | undefined, detokenizer: Detokenizer, stops: StopStrings) {
    this.#tokens = tokens;
    this.#detokenizer = detokenizer;
    this.#stops = stops;
  }

  get calls(): number {
    return this.#calls;
  }

  /** Calls whose end token has come. */
  get endedCalls(): number {
    return this.#endedCalls;
  }

  get stopFound(): boolean {
    return this.#stops.found;
  }

  push(token: number): Delta[] {
    const next = this.#after(token);
    if (next === undefined) return this.#text(this.#detokenizer.push(token));
    // Before the state changes: what was held back belongs to the state that ends here.
    const deltas = this.end();
    if (this.#stops.found) return deltas;
    if (this.#state === "name" && next === "arguments") deltas.push(this.#begin());
    if (this.#state === "arguments" && next !== "arguments") deltas.push(...this.#close());
    this.#state = next;
    return deltas;
  }

  /** What is held back, at the end of the answer: half a character, half a stop string. */
  end(): Delta[] {
    const deltas = this.#text(this.#detokenizer.end());
    const held = this.#state === "content" ? this.#stops.end() : "";
    return held ? [...deltas, { kind: "content", text: held }] : deltas;
  }

  /** The state that a tool token leads to, from any state: a model may leave one out. Nothing for other tokens. */
  #after(token: number): State | undefined {
    switch (token) {
      case this.#tokens?.callsBegin:
        return "between";
      case this.#tokens?.callBegin:
        return "name";
      case this.#tokens?.separator:
        return this.#state === "name" ? "arguments" : this.#state;
      case this.#tokens?.callEnd:
        return this.#state === "content" ? "content" : "between";
      case this.#tokens?.callsEnd:
        return "content";
      default:
        return undefined;
    }
  }

  #text(text: string): Delta[] {
    if (text === "") return [];
    if (this.#state === "content") {
      const content = this.#stops.push(text);
      return content ? [{ kind: "content", text: content }] : [];
    }
    if (this.#state === "name") this.#name += text;
    if (this.#state !== "arguments") return [];
    this.#hasArguments = true;
    return [{ kind: "arguments", index: this.#calls - 1, text }];
  }

  #begin(): Delta {
    const name = this.#name.trim();
    this.#name = "";
    this.#hasArguments = false;
    return { kind: "call", index: this.#calls++, id: `call_${randomBytes(12).toString("hex")}`, name };
  }

  /** Clients parse the arguments, and nothing is not JSON. */
  #close(): Delta[] {
    this.#endedCalls++;
    return this.#hasArguments ? [] : [{ kind: "arguments", index: this.#calls - 1, text: "{}" }];
  }
}
