/** Root mean square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4). */

/**
 * Normalises each of `rows` vectors of `width` values: out = weight * x / sqrt(mean(x^2) + epsilon). Row r begins
 * at r * stride in both; out may be x.
 */
export function rmsNorm(
  out: Float32Array,
  x: Float32Array,
  weight: Float32Array,
  rows: number,
  width: number,
  epsilon: number,
  stride = width,
): void {
  for (let row = 0; row < rows; row++) {
    const from = row * stride;
    let squares = 0;
    for (let i = 0; i < width; i++) squares += x[from + i] * x[from + i];
    const scale = 1 / Math.sqrt(squares / width + epsilon);
    for (let i = 0; i < width; i++) out[from + i] = weight[i] * (x[from + i] * scale);
  }
}
