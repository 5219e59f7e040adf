/** Elementwise functions over arrays of f32. None has a sum that depends on where an array ends. */

/** out[i] += x[i]. */
export function addTo(out: usize, x: usize, length: i32): void {
  const end = out + ((<usize>length) << 2),
    whole = out + ((<usize>length & ~3) << 2);
  for (; out < whole; out += 16, x += 16) v128.store(out, f32x4.add(v128.load(out), v128.load(x)));
  for (; out < end; out += 4, x += 4) store<f32>(out, load<f32>(out) + load<f32>(x));
}

/** out[i] += weight * x[i], rounded twice in every flavour. */
export function addScaled(out: usize, weight: f32, x: usize, length: i32): void {
  const end = out + ((<usize>length) << 2),
    whole = out + ((<usize>length & ~3) << 2),
    w = f32x4.splat(weight);
  for (; out < whole; out += 16, x += 16) {
    v128.store(out, f32x4.add(v128.load(out), f32x4.mul(w, v128.load(x))));
  }
  for (; out < end; out += 4, x += 4) {
    const product = weight * load<f32>(x);
    store<f32>(out, load<f32>(out) + product);
  }
}

/** x[i] *= factor. */
export function scale(x: usize, factor: f32, length: i32): void {
  const end = x + ((<usize>length) << 2),
    whole = x + ((<usize>length & ~3) << 2),
    f = f32x4.splat(factor);
  for (; x < whole; x += 16) v128.store(x, f32x4.mul(v128.load(x), f));
  for (; x < end; x += 4) store<f32>(x, load<f32>(x) * factor);
}

/**
 * x[i] = exp(x[i] * factor - shift), for `length` values rounded up to 4: what lies behind them is overwritten.
 * x = n ln 2 + r, and exp(r) by the polynomial of Cephes' expf: within 2 units in the last place. Not-a-number stays.
 */
export function exponential(x: usize, factor: f32, shift: f32, length: i32): void {
  const end = x + ((<usize>length) << 2);
  const f = f32x4.splat(factor),
    s = f32x4.splat(shift);
  const lowest = f32x4.splat(-87.33654),
    highest = f32x4.splat(88.02969);
  const log2e = f32x4.splat(<f32>Math.LOG2E),
    ln2High = f32x4.splat(0.693359375),
    ln2Low = f32x4.splat(-2.1219444e-4);
  const c0 = f32x4.splat(1.98756915e-4),
    c1 = f32x4.splat(1.3981999507e-3),
    c2 = f32x4.splat(8.3334519073e-3);
  const c3 = f32x4.splat(4.1665795894e-2),
    c4 = f32x4.splat(1.6666665459e-1),
    c5 = f32x4.splat(5.0000001201e-1);
  const one = f32x4.splat(1),
    bias = i32x4.splat(127);
  for (; x < end; x += 16) {
    const whole = f32x4.sub(f32x4.mul(v128.load(x), f), s);
    const y = f32x4.pmin(f32x4.pmax(whole, lowest), highest); // these let not-a-number through
    const n = f32x4.nearest(f32x4.mul(y, log2e));
    const r = f32x4.sub(f32x4.sub(y, f32x4.mul(n, ln2High)), f32x4.mul(n, ln2Low));
    let p = f32x4.add(f32x4.mul(c0, r), c1);
    p = f32x4.add(f32x4.mul(p, r), c2);
    p = f32x4.add(f32x4.mul(p, r), c3);
    p = f32x4.add(f32x4.mul(p, r), c4);
    p = f32x4.add(f32x4.mul(p, r), c5);
    p = f32x4.add(f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r), one);
    const power = i32x4.shl(i32x4.add(i32x4.relaxed_trunc_f32x4_s(n), bias), 23);
    // Below the smallest normal number it is nothing, so that masked positions weigh nothing.
    v128.store(x, v128.andnot(f32x4.mul(p, power), f32x4.lt(whole, lowest)));
  }
}

/** gate[i] = silu(gate[i]) * up[i]; work is overwritten. length is a multiple of 4. */
export function siluMultiply(gate: usize, up: usize, work: usize, length: i32): void {
  const bytes = (<usize>length) << 2,
    one = f32x4.splat(1);
  memory.copy(work, gate, bytes);
  exponential(work, -1, 0, length);
  for (let i: usize = 0; i < bytes; i += 16) {
    const silu = f32x4.div(v128.load(gate + i), f32x4.add(one, v128.load(work + i)));
    v128.store(gate + i, f32x4.mul(silu, v128.load(up + i)));
  }
}

/** out = weight * x / sqrt(mean(x^2) + epsilon). Squares are summed in four lanes of f64, in the order of the values. */
export function norm(out: usize, x: usize, weight: usize, width: i32, epsilon: f64): void {
  const bytes = (<usize>width) << 2,
    whole = (<usize>width & ~3) << 2;
  let low = f64x2.splat(0),
    high = f64x2.splat(0);
  for (let i: usize = 0; i < whole; i += 16) {
    const values = v128.load(x + i);
    const a = f64x2.promote_low_f32x4(values);
    const b = f64x2.promote_low_f32x4(
      i8x16.shuffle(values, values, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7),
    );
    low = f64x2.add(low, f64x2.mul(a, a));
    high = f64x2.add(high, f64x2.mul(b, b));
  }
  const sums = f64x2.add(low, high);
  let squares = f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1);
  for (let i = whole; i < bytes; i += 4) {
    const value = <f64>load<f32>(x + i);
    squares += value * value;
  }
  const factor = <f32>(1.0 / Math.sqrt(squares / <f64>width + epsilon));
  const f = f32x4.splat(factor);
  for (let i: usize = 0; i < whole; i += 16) {
    v128.store(out + i, f32x4.mul(v128.load(weight + i), f32x4.mul(v128.load(x + i), f)));
  }
  for (let i = whole; i < bytes; i += 4) {
    store<f32>(out + i, load<f32>(weight + i) * (load<f32>(x + i) * factor));
  }
}

/** Reads `bytes` (a multiple of 64) and gives something that depends on all of them: how fast memory can be read. */
export function read(from: usize, bytes: usize): i32 {
  let a = i32x4.splat(0),
    b = i32x4.splat(0),
    c = i32x4.splat(0),
    d = i32x4.splat(0);
  for (const end = from + bytes; from < end; from += 64) {
    a = v128.xor(a, v128.load(from));
    b = v128.xor(b, v128.load(from, 16));
    c = v128.xor(c, v128.load(from, 32));
    d = v128.xor(d, v128.load(from, 48));
  }
  return i32x4.extract_lane(v128.xor(v128.xor(a, b), v128.xor(c, d)), 0);
}
