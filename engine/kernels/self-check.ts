/** Whether compiled kernels compute what plain JavaScript does: small cases of each loop, a few milliseconds at start. */
import type { Ops } from "../layers/ops.ts";
import { PlainOps } from "../layers/plain.ts";
import { Random } from "../sampling/random.ts";
import { Int8Reference } from "./reference.ts";

const tolerance = 1e-4;

export function agreesWithPlain(ops: Ops): boolean {
  const plain = ops.weights === "int8" ? new Int8Reference() : new PlainOps();
  return [product, attention].every((run) => {
    const [actual, expected] = [run(ops), run(plain)];
    return actual.every(
      (value, i) => Math.abs(value - expected[i]) <= tolerance * (1 + Math.abs(expected[i])),
    );
  });
}

function randomTensor(ops: Ops, random: Random, length: number): Float32Array {
  const tensor = ops.tensor(length);
  for (let i = 0; i < length; i++) tensor[i] = random.next() * 2 - 1;
  return tensor;
}

/** One token to nine, so that each tile of tokens is taken, through both precisions. */
function product(ops: Ops): Float32Array {
  const random = new Random(1);
  const [rows, columns, most] = [48, 72, 9];
  const x = randomTensor(ops, random, most * columns);
  const out = ops.tensor(most * (most + 1) * rows);
  let from = 0;
  for (const precision of [undefined, "f32" as const]) {
    const matrix = ops.matrix(rows, columns, precision);
    ops.pack(matrix, 0, randomTensor(ops, random, rows * columns));
    for (let tokens = 1; tokens <= most; tokens++) {
      ops.matmul(out.subarray(from), x, matrix, tokens);
      from += tokens * rows;
    }
  }
  return out;
}

/** Seven heads, so that each tile of rows is taken, and a norm. */
function attention(ops: Ops): Float32Array {
  const random = new Random(2);
  const [heads, rank, width, tokens, blockTokens] = [7, 21, 26, 20, 16];
  const cache = { values: ops.tensor(2 * blockTokens * width), layers: 1, blockTokens, width };
  const slice = { firstRow: 0, rows: tokens, position: 0, blocks: Int32Array.of(1, 0) };
  const batch = { tokens, slices: [slice], cache };
  ops.store(randomTensor(ops, random, tokens * width), batch, 0);
  const out = ops.tensor(tokens * heads * rank);
  ops.attend(out, randomTensor(ops, random, tokens * heads * width), batch, 0, heads, rank, 0.2);
  ops.rmsNorm(out, out, randomTensor(ops, random, rank), tokens * heads, 1e-6);
  return out;
}
