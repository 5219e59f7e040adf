/**
 * The matrix product of every projection: out = x W^T, with weights row-major as a checkpoint has them. Values
 * are kept in f32 and summed in f64 (JavaScript's numbers), which is at least as exact as an f32 reference.
 * Several tokens at once use each weight once for four of them; that is what makes prefill cheaper than decode.
 * Every sum runs over the inputs in order, so a token's result does not depend on the tokens computed with it.
 */

/**
 * x: [tokens, inFeatures], weight: [outFeatures, inFeatures], out: [tokens, outFeatures].
 */
export function linear(
  out: Float32Array,
  x: Float32Array,
  weight: Float32Array,
  tokens: number,
  inFeatures: number,
  outFeatures: number,
): void {
  let token = 0;
  for (; token + 4 <= tokens; token += 4) fourTokens(out, x, weight, token, inFeatures, outFeatures);
  for (; token < tokens; token++) oneToken(out, x, weight, token, inFeatures, outFeatures);
}

/** Four rows at a time, so that each value of x is loaded once for four products. */
function oneToken(
  out: Float32Array,
  x: Float32Array,
  weight: Float32Array,
  token: number,
  inFeatures: number,
  outFeatures: number,
): void {
  const from = token * inFeatures;
  const to = token * outFeatures;
  let row = 0;
  for (; row + 4 <= outFeatures; row += 4) {
    const w0 = row * inFeatures;
    const w1 = w0 + inFeatures;
    const w2 = w1 + inFeatures;
    const w3 = w2 + inFeatures;
    let sum0 = 0;
    let sum1 = 0;
    let sum2 = 0;
    let sum3 = 0;
    for (let i = 0; i < inFeatures; i++) {
      const value = x[from + i];
      sum0 += value * weight[w0 + i];
      sum1 += value * weight[w1 + i];
      sum2 += value * weight[w2 + i];
      sum3 += value * weight[w3 + i];
    }
    out[to + row] = sum0;
    out[to + row + 1] = sum1;
    out[to + row + 2] = sum2;
    out[to + row + 3] = sum3;
  }
  for (; row < outFeatures; row++) out[to + row] = dotInOrder(x, from, weight, row * inFeatures, inFeatures);
}

/** Two rows by four tokens: eight sums in registers, six loads for eight products. */
function fourTokens(
  out: Float32Array,
  x: Float32Array,
  weight: Float32Array,
  token: number,
  inFeatures: number,
  outFeatures: number,
): void {
  const x0 = token * inFeatures;
  const x1 = x0 + inFeatures;
  const x2 = x1 + inFeatures;
  const x3 = x2 + inFeatures;
  const to0 = token * outFeatures;
  const to1 = to0 + outFeatures;
  const to2 = to1 + outFeatures;
  const to3 = to2 + outFeatures;
  let row = 0;
  for (; row + 2 <= outFeatures; row += 2) {
    const wa = row * inFeatures;
    const wb = wa + inFeatures;
    let a0 = 0;
    let a1 = 0;
    let a2 = 0;
    let a3 = 0;
    let b0 = 0;
    let b1 = 0;
    let b2 = 0;
    let b3 = 0;
    for (let i = 0; i < inFeatures; i++) {
      const a = weight[wa + i];
      const b = weight[wb + i];
      const value0 = x[x0 + i];
      const value1 = x[x1 + i];
      const value2 = x[x2 + i];
      const value3 = x[x3 + i];
      a0 += a * value0;
      b0 += b * value0;
      a1 += a * value1;
      b1 += b * value1;
      a2 += a * value2;
      b2 += b * value2;
      a3 += a * value3;
      b3 += b * value3;
    }
    out[to0 + row] = a0;
    out[to1 + row] = a1;
    out[to2 + row] = a2;
    out[to3 + row] = a3;
    out[to0 + row + 1] = b0;
    out[to1 + row + 1] = b1;
    out[to2 + row + 1] = b2;
    out[to3 + row + 1] = b3;
  }
  if (row < outFeatures) {
    const w = row * inFeatures;
    out[to0 + row] = dotInOrder(x, x0, weight, w, inFeatures);
    out[to1 + row] = dotInOrder(x, x1, weight, w, inFeatures);
    out[to2 + row] = dotInOrder(x, x2, weight, w, inFeatures);
    out[to3 + row] = dotInOrder(x, x3, weight, w, inFeatures);
  }
}

function dotInOrder(a: Float32Array, aFrom: number, b: Float32Array, bFrom: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[aFrom + i] * b[bFrom + i];
  return sum;
}

/** out[outFrom ..] += scale * x[xFrom ..]. */
export function addScaled(
  out: Float32Array,
  outFrom: number,
  scale: number,
  x: Float32Array,
  xFrom: number,
  length: number,
): void {
  for (let i = 0; i < length; i++) out[outFrom + i] += scale * x[xFrom + i];
}
