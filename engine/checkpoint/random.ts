/**
 * Weights that no one trained, for measuring a shape without its checkpoint: uniform, with the variance that keeps
 * activations near one from layer to layer. A tensor's values follow from the seed and its name alone.
 */
import { createHash } from "node:crypto";
import type { WeightSource } from "./source.ts";

export class RandomWeights implements WeightSource {
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = seed;
  }

  expect(): void {}

  /** Norms are one, biases zero. */
  async vector(name: string, length: number): Promise<Float32Array> {
    return new Float32Array(length).fill(name.includes("norm") ? 1 : 0);
  }

  async rows(
    name: string,
    [rows, columns]: readonly [rows: number, columns: number],
    each: (firstRow: number, values: Float32Array) => void,
    rowsPerBand: number = 32 * Math.max(1, Math.floor(2 ** 18 / columns / 32)),
  ): Promise<void> {
    let state = createHash("sha256").update(`${this.#seed} ${name}`).digest().readInt32LE() || 1;
    const scale = Math.sqrt(3 / columns) / 2 ** 31;
    const values = new Float32Array(Math.min(rows, rowsPerBand) * columns);
    for (let row = 0; row < rows; row += rowsPerBand) {
      const count = Math.min(rowsPerBand, rows - row) * columns;
      // Marsaglia 2003, "Xorshift RNGs": fast, and far better than weights need.
      for (let i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        values[i] = state * scale;
      }
      each(row, values.subarray(0, count));
    }
  }
}
