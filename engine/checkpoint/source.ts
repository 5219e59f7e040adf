/** Where a model's weights come from: a checkpoint's files (weights.ts), or a generator (random.ts). */
export interface WeightSource {
  /** Refuses before anything is read. Errors: CheckpointError. */
  expect(name: string, shape: readonly number[]): void;

  /** Errors: CheckpointError. */
  vector(name: string, length: number): Promise<Float32Array>;

  /**
   * A matrix, a band of whole rows at a time, in order: `values` is [rows of the band, columns] and holds until `each`
   * returns. rowsPerBand: how many rows each band but the last has; a multiple of 32 where nothing is said. Errors:
   * CheckpointError.
   */
  rows(
    name: string,
    shape: readonly [rows: number, columns: number],
    each: (firstRow: number, values: Float32Array) => void,
    rowsPerBand?: number,
  ): Promise<void>;
}
