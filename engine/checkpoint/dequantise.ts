/**
 * From stored values to f32. bf16 is the upper half of an f32; f8 e4m3 is OCP's `E4M3FN` (no infinities, one NaN
 * a sign), with one scale a block of the matrix as DeepSeek publishes V3 (DeepSeek-V3 report, section 3.3.2).
 * The bytes are little-endian, as the format says and as every machine that Node runs on is.
 */

/** `bytes` must be aligned to 4 and a multiple of it. No copy is made. */
export function f32FromBytes(bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

/** `bytes` must be aligned to 2; out has a value for each two of them. */
export function f32FromBf16(out: Float32Array<ArrayBuffer>, bytes: Uint8Array<ArrayBuffer>): void {
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  const words = new Uint32Array(out.buffer, out.byteOffset, halves.length);
  for (let i = 0; i < halves.length; i++) words[i] = halves[i] << 16;
}

/** The 256 values of E4M3FN: 4 bits of exponent with bias 7, 3 of mantissa, S.1111.111 is NaN. */
export const e4m3Values: Float32Array = Float32Array.from({ length: 256 }, (_, code) => {
  const sign = code & 0x80 ? -1 : 1;
  const exponent = (code >> 3) & 0xf;
  const mantissa = code & 7;
  if (exponent === 15 && mantissa === 7) return Number.NaN;
  if (exponent === 0) return sign * (mantissa / 8) * 2 ** -6;
  return sign * (1 + mantissa / 8) * 2 ** (exponent - 7);
});

/** Block scales of a whole matrix: [ceil(rows / blockRows), ceil(columns / blockColumns)]. */
export interface BlockScales {
  readonly values: Float32Array;
  readonly blockRows: number;
  readonly blockColumns: number;
}

/**
 * codes, out: [some rows, columns], which begin at row `firstRow` of the matrix. Each scale multiplies its block (the
 * checkpoint's `weight_scale_inv`, named for the inverse of what quantisation multiplied with).
 */
export function f32FromScaledE4m3(
  out: Float32Array,
  codes: Uint8Array,
  { values: scales, blockRows, blockColumns }: BlockScales,
  firstRow: number,
  columns: number,
): void {
  const scaleColumns = Math.ceil(columns / blockColumns);
  const rows = codes.length / columns;
  for (let row = 0; row < rows; row++) {
    const scaleRow = Math.floor((firstRow + row) / blockRows) * scaleColumns;
    for (let block = 0; block < scaleColumns; block++) {
      const scale = scales[scaleRow + block];
      const end = row * columns + Math.min((block + 1) * blockColumns, columns);
      for (let i = row * columns + block * blockColumns; i < end; i++) out[i] = e4m3Values[codes[i]] * scale;
    }
  }
}
