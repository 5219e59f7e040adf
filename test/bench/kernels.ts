/**
 * `npm run bench:kernels`: each product of the kernels beside the plain read of the same bytes in the same run, from
 * memory and from the caches, on one thread and on all. Ratios hold from day to day; absolute figures are of the
 * machine and of what else ran on it.
 */
import { cpus } from "node:os";
import { type KernelOps, openOps, variants } from "../../engine/kernels/ops.ts";
import { probeRelaxedDot } from "../../engine/kernels/variants.ts";
import type { Matrix, Precision, SwigluMatrices } from "../../engine/layers/ops.ts";
import { Random } from "../../engine/sampling/random.ts";

const rows = 4096;
const columns = 1024;
/** Several times the largest cache. */
const memoryBytes = 256 * 1024 * 1024;
const rounds = Number(process.env.ROUNDS ?? 9);
const random = new Random(1);

function randomValues(count: number): Float32Array {
  return Float32Array.from({ length: count }, () => random.next() * 2 - 1);
}

function matrices(ops: KernelOps, count: number, rows: number, columns: number): Matrix[] {
  const values = randomValues(rows * columns);
  return Array.from({ length: count }, () => {
    const matrix = ops.matrix(rows, columns);
    ops.pack(matrix, 0, values);
    return matrix;
  });
}

function seconds(work: () => void): number {
  const started = performance.now();
  work();
  return (performance.now() - started) / 1000;
}

/** Medians of each, measured in turn so that what else the machine does falls on all. */
function medians(...works: (() => void)[]): number[] {
  const times = works.map((): number[] => []);
  for (let round = 0; round < rounds + 2; round++) {
    for (const [i, work] of works.entries()) {
      const time = seconds(work);
      if (round >= 2) times[i].push(time); // the first two warm up
    }
  }
  return times.map((list) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)]);
}

const fixed = (value: number, width = 8) => value.toFixed(1).padStart(width);
const head = ["kernel".padEnd(34), "threads", "    GB/s", "read GB/s", " of read", "   GOP/s"].join("  ");

function report(name: string, threads: number, bytes: number, time: number, read: number, ops: number): void {
  const share = `${((100 * read) / time).toFixed(0)} %`.padStart(8);
  const cells = [
    name.padEnd(34),
    String(threads).padStart(7),
    fixed(bytes / time / 1e9),
    fixed(bytes / read / 1e9, 9),
  ];
  console.log([...cells, share, fixed(ops / time / 1e9)].join("  "));
}

async function bench(precision: Precision, variant: string, threads: number): Promise<void> {
  const ops = await openOps({ weights: precision, variant, threads });
  const one = ops.matrix(rows, columns).bytes;
  const large = matrices(ops, Math.ceil(memoryBytes / one), rows, columns);
  const bytes = one * large.length;
  const x = ops.tensor(512 * columns);
  x.set(randomValues(x.length));
  const out = ops.tensor(512 * rows);
  const through = (tokens: number) => () => {
    for (const matrix of large) ops.matmul(out, x, matrix, tokens);
  };
  const name = `${precision} ${variant}`;
  const [read, ...times] = medians(
    () => {
      for (const matrix of large) ops.readMatrix(matrix);
    },
    through(1),
    through(2),
    through(4),
  );
  for (const [i, tokens] of [1, 2, 4].entries()) {
    const products = 2 * rows * columns * large.length * tokens;
    report(`${name}, ${tokens} token${tokens > 1 ? "s" : ""}`, threads, bytes, times[i], read, products);
  }
  const [prefill] = medians(() => ops.matmul(out, x, large[0], 512));
  const alone = 2 * rows * columns * 512;
  console.log(
    [
      `${name}, 512 tokens`.padEnd(34),
      String(threads).padStart(7),
      "".padStart(8),
      "".padStart(9),
      "".padStart(8),
      fixed(alone / prefill / 1e9),
    ].join("  "),
  );
  experts(ops, name, threads);
  attention(ops, name, threads);
  ops.close();
}

/** As a mixture of experts asks for them: 4 of 32 of [512, 1024] for one token, all of them for 512. */
function experts(ops: KernelOps, name: string, threads: number): void {
  const [hidden, inner, count, chosen] = [1024, 512, 32, 4];
  const layers = Array.from({ length: 4 }, () => {
    const gates = matrices(ops, count, inner, hidden);
    const ups = matrices(ops, count, inner, hidden);
    const downs = matrices(ops, count, hidden, inner);
    return gates.map((gate, i): SwigluMatrices => ({ gate, up: ups[i], down: downs[i] }));
  });
  const x = ops.tensor(512 * hidden);
  x.set(randomValues(x.length));
  const out = ops.tensor(512 * hidden);
  const routingOf = (tokens: number, shift: number) => {
    const slots = Array.from({ length: tokens }, (_, t) =>
      Array.from({ length: chosen }, (_, k) => [(t * 7 + k * 8 + shift) % count, t] as const),
    ).flat();
    slots.sort(([a, s], [b, t]) => a - b || s - t);
    const used = [...new Set(slots.map(([expert]) => expert))];
    const first = used.map((expert) => slots.findIndex(([e]) => e === expert));
    return {
      experts: used,
      firstSlot: Int32Array.from([...first, slots.length]),
      tokens: Int32Array.from(slots, ([, token]) => token),
      weights: Float32Array.from(slots, () => 0.25),
    };
  };
  const expertBytes = layers[0][0].gate.bytes * 2 + layers[0][0].down.bytes;
  const routings = Array.from({ length: 8 }, (_, shift) => routingOf(1, shift));
  const one = () => {
    for (const [i, routing] of routings.entries()) ops.experts(out, x, layers[i % 4], routing);
  };
  const same = () => {
    for (const [i, routing] of routings.entries()) {
      for (const e of routing.experts) {
        for (const matrix of Object.values(layers[i % 4][e])) ops.readMatrix(matrix);
      }
    }
  };
  const [read, time] = medians(same, one);
  const products = 2 * 3 * hidden * inner * chosen * routings.length;
  report(
    `${name}, 4 experts, 1 token`,
    threads,
    expertBytes * chosen * routings.length,
    time,
    read,
    products,
  );
  const all = routingOf(512, 0);
  const [prefill] = medians(() => ops.experts(out, x, layers[0], all));
  const cells = [
    `${name}, 32 experts, 512 tokens`.padEnd(34),
    String(threads).padStart(7),
    "".padStart(8),
    "".padStart(9),
    "".padStart(8),
  ];
  console.log([...cells, fixed((2 * 3 * hidden * inner * chosen * 512) / prefill / 1e9)].join("  "));
}

/** One token after 2,048 others, and 256 at once after 256: 16 heads over latents of 256 + 32. */
function attention(ops: KernelOps, name: string, threads: number): void {
  const [heads, rank, width, blockTokens] = [16, 256, 288, 16];
  const values = ops.tensor(200 * blockTokens * width);
  values.set(randomValues(values.length));
  const cache = { values, layers: 1, blockTokens, width };
  const query = ops.tensor(256 * heads * width);
  query.set(randomValues(query.length));
  const out = ops.tensor(256 * heads * rank);
  const blocks = Int32Array.from({ length: 200 }, (_, i) => (i * 77) % 200);
  for (const [rows, position] of [
    [1, 2048],
    [256, 256],
  ]) {
    const batch = { tokens: rows, slices: [{ firstRow: 0, rows, position, blocks }], cache };
    const [time] = medians(() => ops.attend(out, query, batch, 0, heads, rank, 0.1));
    const pairs = rows * position + (rows * (rows + 1)) / 2;
    const label = `attention, ${rows} after ${position} (${name.split(" ")[1]})`.padEnd(34);
    const cells = [label, String(threads).padStart(7), "".padStart(8), "".padStart(9), "".padStart(8)];
    console.log([...cells, fixed((2 * pairs * heads * (rank + width)) / time / 1e9)].join("  "));
  }
}

console.log(`${cpus()[0]?.model}, ${cpus().length} processors, Node ${process.version}`);
console.log(`the relaxed dot product of 127 x 255 x 4 gives ${probeRelaxedDot()}\n`);
console.log(head);
const only = process.env.VARIANT;
for (const precision of ["int8", "f32"] as const) {
  for (const variant of variants(precision)) {
    if (only && only !== variant) continue;
    for (const threads of cpus().length > 1 ? [1, cpus().length] : [1])
      await bench(precision, variant, threads);
  }
}
process.exit(0);
