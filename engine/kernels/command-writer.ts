/** Writes a command where the kernels read it (assembly/commands.ts): its code, then numbers and addresses. */
import { commandAt, commandBytes } from "./constants.ts";

export class CommandWriter {
  readonly #words: Uint32Array;
  readonly #floats: Float32Array;
  readonly #doubles: Float64Array;

  constructor(buffer: ArrayBufferLike) {
    this.#words = new Uint32Array(buffer, commandAt, commandBytes / 4);
    this.#floats = new Float32Array(buffer, commandAt, commandBytes / 4);
    this.#doubles = new Float64Array(buffer, commandAt, commandBytes / 8);
  }

  /** Arguments are integers or addresses; `real` follows them as an f32. */
  write(code: number, words: readonly number[], real?: number): void {
    this.#words[0] = code;
    for (let i = 0; i < words.length; i++) this.#words[i + 1] = words[i];
    if (real !== undefined) this.#floats[words.length + 1] = real;
  }

  /** As write, with an f64 at the next multiple of 8 bytes. */
  writeWithDouble(code: number, words: readonly number[], real: number): void {
    this.write(code, words);
    this.#doubles[Math.ceil((words.length + 1) / 2)] = real;
  }
}
