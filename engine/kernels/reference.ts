/**
 * int8 products in plain JavaScript, value by value: what the kernels must equal to the bit. Products of a group of
 * 32 columns are integers; each group's sum is multiplied with the scales of its weights and of its activations and
 * added in f32, in the order of the groups.
 */
import { strict as assert } from "node:assert";
import type { Matrix, Precision, SwigluMatrices } from "../layers/ops.ts";
import { PlainOps } from "../layers/plain.ts";
import { columnsInGroup } from "./constants.ts";

const { fround } = Math;

class QuantisedMatrix implements Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly quants: Int8Array; // [rows, columns]
  readonly scales: Float32Array; // [rows, groups]

  constructor(rows: number, columns: number) {
    this.rows = rows;
    this.columns = columns;
    this.quants = new Int8Array(rows * columns);
    this.scales = new Float32Array(rows * Math.ceil(columns / columnsInGroup));
  }

  get bytes(): number {
    return this.quants.byteLength + this.scales.length * 2;
  }
}

/** The operations with int8 matrices; those that are to be exact stay f32. */
export class Int8Reference extends PlainOps {
  override readonly variant = "javascript int8";
  override readonly weights: Precision = "int8";

  override matrix(rows: number, columns: number, precision?: "f32"): Matrix {
    return precision === "f32" ? super.matrix(rows, columns) : new QuantisedMatrix(rows, columns);
  }

  override pack(matrix: Matrix, firstRow: number, values: Float32Array): void {
    if (!(matrix instanceof QuantisedMatrix)) {
      super.pack(matrix, firstRow, values);
      return;
    }
    const { columns, quants, scales } = matrix;
    const groups = Math.ceil(columns / columnsInGroup);
    for (let row = 0; row < values.length / columns; row++) {
      for (let group = 0; group < groups; group++) {
        const from = group * columnsInGroup;
        const to = Math.min(from + columnsInGroup, columns);
        const part = values.subarray(row * columns + from, row * columns + to);
        const scale = roundToBf16(fround(largestOf(part) / 127));
        const inverse = scale > 1e-37 ? fround(1 / scale) : 0;
        scales[(firstRow + row) * groups + group] = scale;
        for (const [i, value] of part.entries()) {
          const quant = nearestEven(fround(value * inverse));
          quants[(firstRow + row) * columns + from + i] = Math.max(-127, Math.min(127, quant));
        }
      }
    }
  }

  override gather(out: Float32Array, matrix: Matrix, ids: Int32Array): void {
    if (!(matrix instanceof QuantisedMatrix)) {
      super.gather(out, matrix, ids);
      return;
    }
    const { columns, quants, scales } = matrix;
    const groups = Math.ceil(columns / columnsInGroup);
    for (const [i, id] of ids.entries()) {
      for (let column = 0; column < columns; column++) {
        const scale = scales[id * groups + Math.floor(column / columnsInGroup)];
        out[i * columns + column] = quants[id * columns + column] * scale;
      }
    }
  }

  override matmul(out: Float32Array, x: Float32Array, matrix: Matrix, tokens: number): void {
    if (!(matrix instanceof QuantisedMatrix)) {
      super.matmul(out, x, matrix, tokens);
      return;
    }
    const { rows, columns } = matrix;
    for (let token = 0; token < tokens; token++) {
      const { quants, scales } = quantise(x.subarray(token * columns, (token + 1) * columns));
      for (let row = 0; row < rows; row++) {
        out[token * rows + row] = product(matrix, row, quants, scales);
      }
    }
  }

  override swiglu(out: Float32Array, x: Float32Array, matrices: SwigluMatrices, tokens: number): void {
    const length = tokens * matrices.gate.rows;
    const gated = new Float32Array(length);
    const lifted = new Float32Array(length);
    this.matmul(gated, x, matrices.gate, tokens);
    this.matmul(lifted, x, matrices.up, tokens);
    for (let i = 0; i < length; i++) {
      const silu = fround(gated[i] / fround(1 + exponential(-gated[i])));
      gated[i] = silu * lifted[i];
    }
    this.matmul(out, gated, matrices.down, tokens);
  }
}

function product(matrix: QuantisedMatrix, row: number, quants: Int8Array, scales: Float32Array): number {
  const { columns } = matrix;
  let sum = 0;
  for (let group = 0; group < scales.length; group++) {
    const from = group * columnsInGroup;
    const to = Math.min(from + columnsInGroup, columns);
    let integer = 0;
    for (let i = from; i < to; i++) integer += matrix.quants[row * columns + i] * quants[i];
    const scale = fround(scales[group] * matrix.scales[row * scales.length + group]);
    sum = fround(fround(integer * scale) + sum);
  }
  return sum;
}

/** Activations in groups of 32: each its largest value at 127. */
function quantise(x: Float32Array): { quants: Int8Array; scales: Float32Array } {
  const groups = Math.ceil(x.length / columnsInGroup);
  const quants = new Int8Array(x.length);
  const scales = new Float32Array(groups);
  for (let group = 0; group < groups; group++) {
    const from = group * columnsInGroup;
    const part = x.subarray(from, from + columnsInGroup);
    const largest = largestOf(part);
    assert(Number.isFinite(largest), "the reference is for finite values");
    if (largest < fround(1e-30)) continue;
    const inverse = fround(127 / largest);
    scales[group] = largest / 127;
    for (const [i, value] of part.entries()) quants[from + i] = nearestEven(fround(value * inverse));
  }
  return { quants, scales };
}

function largestOf(values: Float32Array): number {
  return values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
}

/** Rounds as f32x4.nearest does: halves to the even neighbour. */
function nearestEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

const word = new DataView(new ArrayBuffer(4));

function roundToBf16(value: number): number {
  word.setFloat32(0, value);
  const bits = word.getUint32(0);
  word.setUint32(0, (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000);
  return word.getFloat32(0);
}

/** exp as assembly/vector.ts computes it, operation by operation. */
function exponential(value: number): number {
  const x = Math.min(Math.max(value, fround(-87.33654)), fround(88.02969));
  const n = nearestEven(fround(x * fround(Math.LOG2E)));
  const r = fround(fround(x - fround(n * fround(0.693359375))) - fround(n * fround(-2.1219444e-4)));
  const coefficients = [1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1];
  let p = coefficients.reduce((sum, c) => fround(fround(sum * r) + fround(c)), 0);
  p = fround(fround(p * r) + fround(5.0000001201e-1));
  const power = fround(fround(fround(p * fround(r * r)) + r) + 1);
  return value < fround(-87.33654) ? 0 : fround(power * 2 ** n);
}
