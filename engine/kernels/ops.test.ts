import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Batch, Matrix, Ops, Precision, Routing, SwigluMatrices } from "../layers/ops.ts";
import { PlainOps } from "../layers/plain.ts";
import { Random } from "../sampling/random.ts";
import { type KernelOps, openKernels } from "./ops.ts";
import { Int8Reference } from "./reference.ts";
import { allVariants, probeRelaxedDot, type Variant, variants } from "./variants.ts";

const seed = Number(process.env.CAUSEWAY_SEED ?? Math.floor(Math.random() * 2 ** 31));
const random = new Random(seed);
console.log(`kernels: seed ${seed}`);

const usable = allVariants.filter(({ precision, name }) => variants(precision).includes(name));
const byThreads = [1, 2, 3].flatMap((threads) => usable.map((variant) => ({ ...variant, threads })));

/** Values from -1 to 1, now and then a large one, as activations have. */
function values(count: number): Float32Array {
  return Float32Array.from({ length: count }, () => {
    const value = random.next() * 2 - 1;
    return random.next() < 0.01 ? value * 50 : value;
  });
}

function whole(least: number, most: number): number {
  return least + Math.floor(random.next() * (most - least + 1));
}

function tensor(ops: Ops, content: Float32Array): Float32Array {
  const result = ops.tensor(content.length);
  result.set(content);
  return result;
}

function matrix(ops: Ops, rows: number, columns: number, content: Float32Array, precision?: "f32"): Matrix {
  const result = ops.matrix(rows, columns, precision);
  for (let row = 0; row < rows; row += 32) {
    ops.pack(result, row, content.subarray(row * columns, Math.min(row + 32, rows) * columns));
  }
  return result;
}

/** Differences relative to the size of what is expected. */
function relativeError(actual: Float32Array, expected: Float32Array): number {
  expect(actual.length).toBe(expected.length);
  let [errors, squares] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    errors += (actual[i] - expected[i]) ** 2;
    squares += expected[i] ** 2;
  }
  return squares === 0 ? Math.sqrt(errors) : Math.sqrt(errors / squares);
}

// What an operation is given, made once and done by several implementations.

type Case = (ops: Ops) => Float32Array;

function matmulCase(rows: number, columns: number, tokens: number, precision?: "f32"): Case {
  const weights = values(rows * columns);
  const x = values(tokens * columns);
  return (ops) => {
    const out = ops.tensor(tokens * rows);
    ops.matmul(out, tensor(ops, x), matrix(ops, rows, columns, weights, precision), tokens);
    return out;
  };
}

function headsCase(heads: number, rows: number, columns: number, tokens: number): Case {
  const [xWidth, outWidth] = [columns + whole(0, 5), rows + whole(0, 5)];
  const weights = Array.from({ length: heads }, () => values(rows * columns));
  const x = values(tokens * heads * xWidth);
  return (ops) => {
    const out = ops.tensor(tokens * heads * outWidth).fill(7);
    const matrices = weights.map((content) => matrix(ops, rows, columns, content));
    ops.matmulHeads(out, outWidth, tensor(ops, x), xWidth, matrices, tokens);
    return out;
  };
}

function swigluContent(hidden: number, inner: number): [Float32Array, Float32Array, Float32Array] {
  return [values(inner * hidden), values(inner * hidden), values(hidden * inner)];
}

function swigluMatrices(
  ops: Ops,
  hidden: number,
  inner: number,
  [gate, up, down]: [Float32Array, Float32Array, Float32Array],
): SwigluMatrices {
  return {
    gate: matrix(ops, inner, hidden, gate),
    up: matrix(ops, inner, hidden, up),
    down: matrix(ops, hidden, inner, down),
  };
}

function swigluCase(hidden: number, inner: number, tokens: number): Case {
  const content = swigluContent(hidden, inner);
  const x = values(tokens * hidden);
  return (ops) => {
    const out = ops.tensor(tokens * hidden);
    ops.swiglu(out, tensor(ops, x), swigluMatrices(ops, hidden, inner, content), tokens);
    return out;
  };
}

/** Each token goes to `chosen` of `count` experts. */
function routing(tokens: number, count: number, chosen: number): Routing {
  const slots = Array.from({ length: tokens }, (_, token) => {
    const order = Array.from({ length: count }, (_, expert) => ({ expert, key: random.next() }));
    return order
      .sort((a, b) => a.key - b.key)
      .slice(0, chosen)
      .map(({ expert }) => [expert, token] as const);
  }).flat();
  slots.sort(([a, s], [b, t]) => a - b || s - t);
  const experts = [...new Set(slots.map(([expert]) => expert))];
  const first = experts.map((expert) => slots.findIndex(([other]) => other === expert));
  return {
    experts,
    firstSlot: Int32Array.from([...first, slots.length]),
    tokens: Int32Array.from(slots, ([, token]) => token),
    weights: values(slots.length),
  };
}

function expertsCase(hidden: number, inner: number, count: number, tokens: number, chosen: number): Case {
  const contents = Array.from({ length: count }, () => swigluContent(hidden, inner));
  const [x, before] = [values(tokens * hidden), values(tokens * hidden)];
  const slots = routing(tokens, count, chosen);
  return (ops) => {
    const out = tensor(ops, before);
    const matrices = contents.map((content) => swigluMatrices(ops, hidden, inner, content));
    ops.experts(out, tensor(ops, x), matrices, slots);
    return out;
  };
}

const blockTokens = 16;

/** Several sequences over blocks in any order, whose latents before the step are in the cache already. */
function attentionCase(heads: number, rank: number, rope: number, lengths: [number, number][]): Case {
  const width = rank + rope;
  const layers = whole(1, 3);
  const layer = whole(0, layers - 1);
  const needed = lengths.map(([position, rows]) => Math.ceil((position + rows) / blockTokens));
  const blockCount = needed.reduce((sum, count) => sum + count, 0) + 2;
  const order = Array.from({ length: blockCount }, (_, i) => ({ i, key: random.next() }))
    .sort((a, b) => a.key - b.key)
    .map(({ i }) => i);
  let [row, block] = [0, 0];
  const slices = lengths.map(([position, rows], i) => {
    const blocks = Int32Array.from(order.slice(block, block + needed[i]));
    block += needed[i];
    row += rows;
    return { firstRow: row - rows, rows, position, blocks };
  });
  const earlier = slices.map(({ position }) => values(position * width));
  const [latents, query] = [values(row * width), values(row * heads * width)];
  return (ops) => {
    // What nobody stored must never be looked at: it would spread.
    const content = ops.tensor(blockCount * layers * blockTokens * width).fill(Number.NaN);
    const cache = { values: content, layers, blockTokens, width };
    for (const [i, { position, blocks }] of slices.entries()) {
      if (position === 0) continue;
      const before = {
        tokens: position,
        slices: [{ firstRow: 0, rows: position, position: 0, blocks }],
        cache,
      };
      ops.store(tensor(ops, earlier[i]), before, layer);
    }
    const batch: Batch = { tokens: row, slices, cache };
    ops.store(tensor(ops, latents), batch, layer);
    const out = ops.tensor(row * heads * rank);
    ops.attend(out, tensor(ops, query), batch, layer, heads, rank, 0.2);
    return out;
  };
}

function normCase(rows: number, width: number): Case {
  const stride = width + whole(0, 9);
  const [x, weight, more] = [values(rows * stride), values(width), values(rows * stride)];
  return (ops) => {
    const out = tensor(ops, x);
    ops.rmsNorm(out, out, tensor(ops, weight), rows, 1e-6, stride);
    ops.add(out, tensor(ops, more), rows * stride - 1);
    return out;
  };
}

function gatherCase(rows: number, columns: number, count: number): Case {
  const weights = values(rows * columns);
  const ids = Int32Array.from({ length: count }, () => whole(0, rows - 1));
  return (ops) => {
    const out = ops.tensor(count * columns);
    ops.gather(out, matrix(ops, rows, columns, weights), ids);
    return out;
  };
}

/** Shapes of every kind: smaller than a block, not multiples of it, and enough work for several threads. */
const cases: Record<string, Case[]> = {
  matmul: [
    matmulCase(1, 1, 1),
    matmulCase(whole(1, 15), whole(1, 31), whole(1, 9)),
    matmulCase(whole(17, 100), whole(33, 200), whole(1, 9)),
    matmulCase(512, 96, 3),
    matmulCase(100, 260, whole(10, 40)),
  ],
  "matmul kept in f32": [matmulCase(whole(1, 90), whole(1, 200), whole(1, 9), "f32")],
  matmulHeads: [headsCase(whole(1, 7), whole(1, 40), whole(1, 70), whole(1, 9)), headsCase(8, 64, 48, 2)],
  swiglu: [swigluCase(whole(1, 70), whole(1, 100), whole(1, 9)), swigluCase(128, 96, 7)],
  experts: [
    expertsCase(whole(1, 70), whole(1, 100), 5, whole(1, 9), 2),
    expertsCase(256, 96, 8, 1, 2),
    expertsCase(96, 64, 4, 30, 3),
  ],
  attention: [
    attentionCase(1, whole(1, 9), whole(1, 5), [[0, 1]]),
    attentionCase(whole(1, 9), whole(1, 40), whole(1, 9), [
      [whole(0, 100), whole(1, 30)],
      [0, whole(1, 70)],
      [whole(1, 150), 1],
    ]),
    attentionCase(4, 128, 32, [
      [200, 1],
      [63, 2],
      [64, 1],
    ]),
  ],
  "norm and add": [normCase(whole(1, 9), whole(1, 70)), normCase(70, 300)],
  gather: [gatherCase(whole(1, 50), whole(1, 90), whole(1, 9)), gatherCase(100, 1000, 30)],
};

const references: Record<Precision, Ops> = { f32: new PlainOps(), int8: new Int8Reference() };
const expectedOf = { f32: new Map<Case, Float32Array>(), int8: new Map<Case, Float32Array>() };

/** What the reference makes of a case: computed once for all variants. */
function expected(run: Case, precision: Precision): Float32Array {
  const known = expectedOf[precision].get(run) ?? run(references[precision]);
  expectedOf[precision].set(run, known);
  return known;
}

describe.each(byThreads)("$precision kernels, $name, on $threads threads", (variant) => {
  let ops: KernelOps;
  beforeAll(async () => {
    ops = await openKernels(variant, variant.threads);
  });
  afterAll(() => ops.close());

  it.each(Object.keys(cases))("do what the plain %s does", (name) => {
    for (const run of cases[name]) {
      const error = relativeError(run(ops), expected(run, variant.precision));
      expect(error).toBeLessThan(2e-6);
    }
  });

  it("give the reference's bits for int8 products, dense and gated", () => {
    if (variant.precision !== "int8") return;
    for (const run of ["matmul", "matmulHeads", "swiglu", "gather"].flatMap((name) => cases[name])) {
      expect(run(ops)).toEqual(expected(run, "int8"));
    }
  });

  it("give a token the same bits alone and in company", () => {
    const [rows, columns, tokens, heads] = [50, 70, 11, 3];
    const weights = matrix(ops, rows, columns, values(rows * columns));
    const x = tensor(ops, values(tokens * columns));
    const [together, alone] = [ops.tensor(tokens * rows), ops.tensor(rows)];
    ops.matmul(together, x, weights, tokens);
    const experts = Array.from({ length: 4 }, () =>
      swigluMatrices(ops, columns, 40, swigluContent(columns, 40)),
    );
    const slots = routing(tokens, 4, 2);
    const [mixed, mixedAlone] = [ops.tensor(tokens * columns), ops.tensor(columns)];
    ops.swiglu(mixed, x, experts[0], tokens);
    ops.experts(mixed, x, experts, slots);
    for (let token = 0; token < tokens; token++) {
      const own = tensor(ops, x.slice(token * columns, (token + 1) * columns));
      ops.matmul(alone, own, weights, 1);
      expect(alone).toEqual(together.slice(token * rows, (token + 1) * rows));
      ops.swiglu(mixedAlone, own, experts[0], 1);
      ops.experts(mixedAlone, own, experts, routingOfToken(slots, token));
      expect(mixedAlone).toEqual(mixed.slice(token * columns, (token + 1) * columns));
    }
    expectSameAttention(ops, heads, 24, 8);
  });

  it("let what is not a number spoil its own token only, and end", () => {
    const [rows, columns, tokens] = [40, 64, 5];
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const x = tensor(ops, values(tokens * columns));
      x[2 * columns + 5] = bad;
      const out = ops.tensor(tokens * rows);
      ops.matmul(out, x, matrix(ops, rows, columns, values(rows * columns)), tokens);
      const mixed = ops.tensor(tokens * columns);
      ops.swiglu(mixed, x, swigluMatrices(ops, columns, 32, swigluContent(columns, 32)), tokens);
      for (let token = 0; token < tokens; token++) {
        const finite = out.subarray(token * rows, (token + 1) * rows).every(Number.isFinite);
        expect(finite).toBe(token !== 2);
        expect(mixed.subarray(token * columns, (token + 1) * columns).every(Number.isFinite)).toBe(
          token !== 2,
        );
      }
    }
    const width = 20;
    const cache = { values: ops.tensor(4 * blockTokens * width), layers: 1, blockTokens, width };
    const blocks = Int32Array.of(1, 3);
    const batch: Batch = { tokens: 20, slices: [{ firstRow: 0, rows: 20, position: 0, blocks }], cache };
    const latents = tensor(ops, values(20 * width));
    latents[10 * width] = Number.NaN;
    ops.store(latents, batch, 0);
    const out = ops.tensor(20 * 2 * 16);
    ops.attend(out, tensor(ops, values(20 * 2 * width)), batch, 0, 2, 16, 1);
    expect(out.subarray(0, 10 * 32).every(Number.isFinite)).toBe(true);
    expect(out.subarray(10 * 32).every(Number.isNaN)).toBe(true);
  });

  it("write nothing outside of what they are asked for", () => {
    const guarded = (length: number) => {
      const all = ops.tensor(length + 64).fill(3);
      return {
        out: all.subarray(32, 32 + length),
        around: () => [...all.subarray(0, 32), ...all.subarray(32 + length)],
      };
    };
    for (const [rows, columns, tokens] of [
      [5, 7, 3],
      [33, 40, 4],
      [100, 200, 9],
    ]) {
      const product = guarded(tokens * rows);
      ops.matmul(
        product.out,
        tensor(ops, values(tokens * columns)),
        matrix(ops, rows, columns, values(rows * columns)),
        tokens,
      );
      const gated = guarded(tokens * columns);
      const content = swigluContent(columns, rows);
      ops.swiglu(
        gated.out,
        tensor(ops, values(tokens * columns)),
        swigluMatrices(ops, columns, rows, content),
        tokens,
      );
      for (const { around } of [product, gated]) expect(around()).toEqual(Array(64).fill(3));
    }
  });
});

function routingOfToken(all: Routing, token: number): Routing {
  const own = all.experts.flatMap((expert, i) => {
    const slot = all.tokens.subarray(all.firstSlot[i], all.firstSlot[i + 1]).indexOf(token);
    return slot < 0 ? [] : [{ expert, weight: all.weights[all.firstSlot[i] + slot] }];
  });
  return {
    experts: own.map(({ expert }) => expert),
    firstSlot: Int32Array.from({ length: own.length + 1 }, (_, i) => i),
    tokens: new Int32Array(own.length),
    weights: Float32Array.from(own, ({ weight }) => weight),
  };
}

/** A prompt of 90 tokens at once, and in chunks between which another sequence is computed. */
function expectSameAttention(ops: Ops, heads: number, rank: number, rope: number): void {
  const width = rank + rope;
  const cache = { values: ops.tensor(20 * blockTokens * width), layers: 1, blockTokens, width };
  const [latents, query] = [values(91 * width), values(91 * heads * width)];
  const attend = (slices: Batch["slices"], rows: readonly [number, number][]) => {
    const pick = (all: Float32Array, size: number) =>
      Float32Array.from(rows.flatMap(([from, to]) => [...all.subarray(from * size, to * size)]));
    const tokens = rows.reduce((sum, [from, to]) => sum + to - from, 0);
    const batch = { tokens, slices, cache };
    ops.store(tensor(ops, pick(latents, width)), batch, 0);
    const out = ops.tensor(tokens * heads * rank);
    ops.attend(out, tensor(ops, pick(query, heads * width)), batch, 0, heads, rank, 0.3);
    return out;
  };
  const [mine, copy, other] = [
    Int32Array.of(3, 0, 7, 9, 2, 5),
    Int32Array.of(1, 4, 6, 8, 10, 11),
    Int32Array.of(12),
  ];
  const whole = attend([{ firstRow: 0, rows: 90, position: 0, blocks: mine }], [[0, 90]]);
  for (const [from, to] of [
    [0, 1],
    [1, 17],
    [17, 80],
    [80, 90],
  ]) {
    const chunk = attend(
      [
        { firstRow: 0, rows: 1, position: 0, blocks: other },
        { firstRow: 1, rows: to - from, position: from, blocks: copy },
      ],
      [
        [90, 91],
        [from, to],
      ],
    );
    expect(chunk.slice(heads * rank)).toEqual(whole.slice(from * heads * rank, to * heads * rank));
  }
}

describe("all variants", () => {
  async function withVariant<T>(variant: Variant, threads: number, use: (ops: KernelOps) => T): Promise<T> {
    const ops = await openKernels(variant, threads);
    try {
      return use(ops);
    } finally {
      ops.close();
    }
  }

  it.each(usable)("of $precision $name give the same bits on any number of threads", async (variant) => {
    const runs = Object.values(cases).flat();
    const expected = await withVariant(variant, 1, (ops) => runs.map((run) => run(ops)));
    for (const threads of [2, 3]) {
      await withVariant(variant, threads, (ops) => {
        for (const [i, run] of runs.entries()) expect(run(ops)).toEqual(expected[i]);
      });
    }
  });

  it("of int8 give the same bits as each other", async () => {
    // Where the processor saturates, weights that are not positive keep the sums of pairs in its range.
    const answer = probeRelaxedDot();
    if (answer !== 129_540 && answer !== 65_534) return;
    const negative = (count: number) => values(count).map((value) => -Math.abs(value));
    const weights = answer === 129_540 ? values : negative;
    const [rows, columns] = [100, 90];
    const [content, x] = [weights(rows * columns), values(9 * columns)];
    const int8 = allVariants.filter(({ precision }) => precision === "int8");
    const results: Float32Array[] = [];
    for (const variant of int8) {
      await withVariant(variant, 1, (ops) => {
        for (const tokens of [1, 2, 3, 9]) {
          const out = ops.tensor(9 * rows);
          ops.matmul(out, tensor(ops, x), matrix(ops, rows, columns, content), tokens);
          results.push(out);
        }
      });
    }
    expect(int8.length).toBe(2);
    for (let i = 0; i < 4; i++) expect(results[i]).toEqual(results[i + 4]);
  });

  it("of int8 are as near to f32 as they say", async () => {
    const [rows, columns] = [256, 1024];
    const normal = (count: number) =>
      Float32Array.from(
        { length: count },
        () => Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next()),
      );
    const [content, x] = [normal(rows * columns), normal(8 * columns)];
    const run: Case = (ops) => {
      const out = ops.tensor(8 * rows);
      ops.matmul(out, tensor(ops, x), matrix(ops, rows, columns, content), 8);
      return out;
    };
    const exact = allVariants.find(({ name }) => name === "exact")!;
    const error = await withVariant(exact, 1, (ops) => relativeError(run(ops), run(references.f32)));
    console.log(`int8 products against f32: relative RMS error ${(error * 100).toFixed(2)} %`);
    expect(error).toBeLessThan(0.01);
  });
});

describe("their memory", () => {
  const variant = allVariants[0];

  it("ends with an error that says how much was asked for", async () => {
    const ops = await openKernels(variant, 1, 1_000_000);
    ops.tensor(200_000);
    expect(() => ops.tensor(200_000)).toThrow(RangeError);
    expect(() => ops.matrix(2 ** 20, 2 ** 20)).toThrow(/out of memory: \d+ bytes asked for/);
    expect(ops.tensor(1000)).toHaveLength(1000);
    ops.close();
  });

  it("does not take tensors, matrices and rows that are not its own", async () => {
    const ops = await openKernels(variant, 1);
    const other = await openKernels(variant, 1);
    const own = matrix(ops, 4, 4, values(16));
    const [out, x] = [ops.tensor(8), ops.tensor(8)];
    expect(() => ops.matmul(out, new Float32Array(8), own, 1)).toThrow(/not of these operations/);
    expect(() => ops.matmul(other.tensor(8), x, own, 1)).toThrow(/not of these operations/);
    expect(() => ops.matmul(out, x, new PlainOps().matrix(4, 4), 1)).toThrow(/of other operations/);
    expect(() => ops.matmul(out, x, own, 3)).toThrow(/beyond its tensor/);
    expect(() => ops.gather(out, own, Int32Array.of(4))).toThrow(/no such row/);
    expect(() => ops.pack(own, 2, values(12))).toThrow(/beyond the matrix/);
    const cache = { values: ops.tensor(64), layers: 1, blockTokens, width: 4 };
    const slice = { firstRow: 0, rows: 1, position: 0, blocks: Int32Array.of(1) };
    expect(() => ops.store(x, { tokens: 1, slices: [slice], cache }, 0)).toThrow(/no such block/);
    ops.close();
    other.close();
  });

  it("keeps tensors where they are when it grows", async () => {
    const ops = await openKernels(variant, 1);
    const first = ops.tensor(16).fill(1);
    const weights = matrix(ops, 16, 16, new Float32Array(256).fill(1));
    ops.tensor(2 ** 22);
    const out = ops.tensor(16);
    ops.matmul(out, first, weights, 1);
    expect([...out]).toEqual(Array(16).fill(16));
    ops.close();
  });
});
