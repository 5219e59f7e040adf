/**
 * Activations for int8 products, in groups of 32: the values, the scale they are multiplied with, and what the sum
 * of products begins with, because weights are stored 128 higher than they are.
 */
import { columnsInGroup, exactGroupBytes, formatRelaxed, int8Offset, relaxedGroupBytes } from "../constants";

export function groupBytes(format: i32): i32 {
  return format === formatRelaxed ? relaxedGroupBytes : exactGroupBytes;
}

/** Bytes of one quantised token. */
export function recordBytes(columns: i32, format: i32): i32 {
  return ((columns + columnsInGroup - 1) >> 5) * groupBytes(format);
}

/** Below this a group counts as zeros: its inverse would be infinite. */
const smallest: f32 = 1e-30;

/**
 * One token of `columns` values. Not-a-number and infinities give a scale that is one too, so that they come out of
 * every product of this token, and of no other.
 */
export function quantise(to: usize, x: usize, columns: i32, format: i32, padding: usize): void {
  const bytes = <usize>groupBytes(format);
  let left = columns;
  for (; left >= columnsInGroup; left -= columnsInGroup) {
    quantiseGroup(to, x, format);
    to += bytes;
    x += columnsInGroup * 4;
  }
  if (left > 0) {
    memory.fill(padding, 0, columnsInGroup * 4);
    memory.copy(padding, x, (<usize>left) << 2);
    quantiseGroup(to, padding, format);
  }
}

/** Added to a value, leaves it rounded to the nearest integer (ties to even) in the low bits: 1.5 * 2^23. */
const rounding: f32 = 12582912;
const roundingBits: i32 = 0x4b400000;

export function quantiseGroup(to: usize, x: usize, format: i32): void {
  const x0 = v128.load(x),
    x1 = v128.load(x, 16),
    x2 = v128.load(x, 32),
    x3 = v128.load(x, 48);
  const x4 = v128.load(x, 64),
    x5 = v128.load(x, 80),
    x6 = v128.load(x, 96),
    x7 = v128.load(x, 112);
  // Sizes compare as their bits do, not-a-number as the largest: one instruction, where f32x4.max takes seven.
  const size = i32x4.splat(0x7fffffff);
  const m0 = i32x4.max_s(
    i32x4.max_s(v128.and(x0, size), v128.and(x1, size)),
    i32x4.max_s(v128.and(x2, size), v128.and(x3, size)),
  );
  const m1 = i32x4.max_s(
    i32x4.max_s(v128.and(x4, size), v128.and(x5, size)),
    i32x4.max_s(v128.and(x6, size), v128.and(x7, size)),
  );
  const m2 = i32x4.max_s(m0, m1);
  const m3 = i32x4.max_s(m2, i8x16.shuffle(m2, m2, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  const m4 = i32x4.max_s(m3, i8x16.shuffle(m3, m3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3));
  const largest = f32x4.extract_lane(m4, 0);
  const isZero = largest < smallest;
  // What is not finite makes its scale so, and quants of any value.
  const isNumber = largest < Infinity;
  const inverse = f32x4.splat(isZero || !isNumber ? 0 : <f32>127 / largest);
  const scale: f32 = isZero ? 0 : largest / <f32>127;
  // At most 127 in size, so that adding `rounding` rounds.
  const r = f32x4.splat(rounding),
    bits = i32x4.splat(roundingBits);
  const q0 = i32x4.sub(f32x4.add(f32x4.mul(x0, inverse), r), bits);
  const q1 = i32x4.sub(f32x4.add(f32x4.mul(x1, inverse), r), bits);
  const q2 = i32x4.sub(f32x4.add(f32x4.mul(x2, inverse), r), bits);
  const q3 = i32x4.sub(f32x4.add(f32x4.mul(x3, inverse), r), bits);
  const q4 = i32x4.sub(f32x4.add(f32x4.mul(x4, inverse), r), bits);
  const q5 = i32x4.sub(f32x4.add(f32x4.mul(x5, inverse), r), bits);
  const q6 = i32x4.sub(f32x4.add(f32x4.mul(x6, inverse), r), bits);
  const q7 = i32x4.sub(f32x4.add(f32x4.mul(x7, inverse), r), bits);
  const h0 = i16x8.narrow_i32x4_s(q0, q1),
    h1 = i16x8.narrow_i32x4_s(q2, q3);
  const h2 = i16x8.narrow_i32x4_s(q4, q5),
    h3 = i16x8.narrow_i32x4_s(q6, q7);
  const s0 = i32x4.dot_i16x8_s(i16x8.add(i16x8.add(h0, h1), i16x8.add(h2, h3)), i16x8.splat(1));
  const s1 = i32x4.add(s0, i8x16.shuffle(s0, s0, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  const sum = i32x4.extract_lane(s1, 0) + i32x4.extract_lane(s1, 1);
  if (format === formatRelaxed) {
    v128.store(to, i8x16.narrow_i16x8_s(h0, h1));
    v128.store(to, i8x16.narrow_i16x8_s(h2, h3), 16);
    store<f32>(to, scale, 32);
    store<i32>(to, -int8Offset * sum, 36);
  } else {
    v128.store(to, h0);
    v128.store(to, h1, 16);
    v128.store(to, h2, 32);
    v128.store(to, h3, 48);
    store<f32>(to, scale, 64);
    store<i32>(to, -int8Offset * sum, 68);
  }
}
