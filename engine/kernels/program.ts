/** Writes commands where the kernels read them (assembly/index.ts): codes, lengths, numbers and addresses. */
import { commandEnd, programAt, programBytes } from "./constants.ts";

export class Program {
  readonly #words: Uint32Array;
  readonly #floats: Float32Array;
  readonly #doubles: Float64Array;
  #next = 0;

  constructor(buffer: ArrayBufferLike) {
    this.#words = new Uint32Array(buffer, programAt, programBytes / 4);
    this.#floats = new Float32Array(buffer, programAt, programBytes / 4);
    this.#doubles = new Float64Array(buffer, programAt, programBytes / 8);
  }

  /** The program is this one command. Arguments are integers or addresses; `real` follows them as an f32. */
  single(code: number, words: readonly number[], real?: number): void {
    this.#next = 0;
    const length = words.length + (real === undefined ? 2 : 3);
    this.#words[this.#next++] = code;
    this.#words[this.#next++] = length;
    for (const word of words) this.#words[this.#next++] = word;
    if (real !== undefined) this.#floats[this.#next++] = real;
    this.#words[this.#next] = commandEnd;
  }

  /** As single, with an f64 behind an even number of arguments. */
  singleWithDouble(code: number, words: readonly number[], real: number): void {
    this.single(code, [...words, 0, 0]);
    this.#doubles[(words.length + 2) / 2] = real;
  }
}
