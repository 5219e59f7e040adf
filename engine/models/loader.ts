/**
 * From a source of weights to an Ops' packed matrices, a band of rows at a time. A first pass over the same calls
 * only asks the source what it has, so a checkpoint that lacks something is refused before memory is taken.
 */
import type { WeightSource } from "../checkpoint/source.ts";
import type { Matrix, Ops } from "../layers/ops.ts";

export interface Loader {
  vector(name: string, length: number): Promise<Float32Array>;
  matrix(name: string, rows: number, columns: number, precision?: "f32"): Promise<Matrix>;
  /**
   * One stored matrix [heads * rows, columns] as several for each head: parts[i] rows for part i, transposed where it
   * says so. Returns them by part, then by head.
   */
  heads(name: string, heads: number, columns: number, parts: readonly HeadPart[]): Promise<Matrix[][]>;
}

export interface HeadPart {
  readonly rows: number;
  readonly transposed: boolean;
}

export class CheckingLoader implements Loader {
  readonly #source: WeightSource;

  constructor(source: WeightSource) {
    this.#source = source;
  }

  async vector(name: string, length: number): Promise<Float32Array> {
    this.#source.expect(name, [length]);
    return new Float32Array(0);
  }

  async matrix(name: string, rows: number, columns: number): Promise<Matrix> {
    this.#source.expect(name, [rows, columns]);
    return { rows, columns, bytes: 0 };
  }

  async heads(name: string, heads: number, columns: number, parts: readonly HeadPart[]): Promise<Matrix[][]> {
    this.#source.expect(name, [heads * rowsOf(parts), columns]);
    return parts.map(() => []);
  }
}

export class PackingLoader implements Loader {
  readonly #source: WeightSource;
  readonly #ops: Ops;
  /** Of all matrices and vectors. */
  bytes = 0;
  /** Reused from head to head. */
  #transposed = new Float32Array(0);

  constructor(source: WeightSource, ops: Ops) {
    this.#source = source;
    this.#ops = ops;
  }

  async vector(name: string, length: number): Promise<Float32Array> {
    const vector = this.#ops.tensor(length);
    vector.set(await this.#source.vector(name, length));
    this.bytes += vector.byteLength;
    return vector;
  }

  async matrix(name: string, rows: number, columns: number, precision?: "f32"): Promise<Matrix> {
    const matrix = this.#matrix(rows, columns, precision);
    await this.#source.rows(name, [rows, columns], (row, values) => this.#ops.pack(matrix, row, values));
    return matrix;
  }

  async heads(name: string, heads: number, columns: number, parts: readonly HeadPart[]): Promise<Matrix[][]> {
    const rows = rowsOf(parts);
    // A part's matrices lie side by side, as they are read.
    const matrices = parts.map((part) =>
      Array.from({ length: heads }, () =>
        part.transposed ? this.#matrix(columns, part.rows) : this.#matrix(part.rows, columns),
      ),
    );
    const pack = (firstRow: number, values: Float32Array) => {
      let from = 0;
      for (const [i, part] of parts.entries()) {
        const matrix = matrices[i][firstRow / rows];
        const own = values.subarray(from * columns, (from + part.rows) * columns);
        this.#ops.pack(matrix, 0, part.transposed ? this.#transpose(own, part.rows, columns) : own);
        from += part.rows;
      }
    };
    await this.#source.rows(name, [heads * rows, columns], pack, rows);
    return matrices;
  }

  #transpose(values: Float32Array, rows: number, columns: number): Float32Array {
    if (this.#transposed.length !== values.length) this.#transposed = new Float32Array(values.length);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        this.#transposed[column * rows + row] = values[row * columns + column];
      }
    }
    return this.#transposed;
  }

  #matrix(rows: number, columns: number, precision?: "f32"): Matrix {
    const matrix = this.#ops.matrix(rows, columns, precision);
    this.bytes += matrix.bytes;
    return matrix;
  }
}

function rowsOf(parts: readonly HeadPart[]): number {
  return parts.reduce((sum, part) => sum + part.rows, 0);
}
