/**
 * Tokens of one answer to text, as they come. A token may end inside a character: its bytes wait until the character
 * is whole. Each token costs its own length, so an answer costs its length.
 */
import type { Tokenizer } from "./tokenizer.ts";

export class Detokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** The text that has become whole with this token; empty for special tokens. */
  push(token: number): string {
    const bytes = this.#tokenizer.bytesOf(token);
    return bytes ? this.#decoder.decode(bytes, { stream: true }) : "";
  }

  /** What is left at the end: U+FFFD where the answer ended inside a character. */
  end(): string {
    return this.#decoder.decode();
  }
}
