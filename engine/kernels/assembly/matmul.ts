/**
 * Products of packed matrices with any number of tokens: which rows a thread takes, in which order it goes over
 * blocks and tokens, and what becomes of the last rows of a matrix. A sum never spans threads.
 */
import {
  columnsInGroup,
  formatExact,
  formatF32,
  int8BlockBytes,
  rowsInBlock,
  threadMemoryAt,
  threadMemoryBytes,
} from "../constants";
import {
  productF32x1,
  productF32x2,
  productF32x4,
  productInt8Exact1,
  productInt8Exact2,
  productInt8Exact4,
  productInt8Relaxed1,
  productInt8Relaxed2,
  productInt8Relaxed4,
} from "./products";
import { quantise, quantiseGroup, recordBytes } from "./quantise";
import { barrier } from "./threads";
import { addScaled, siluMultiply } from "./vector";

/** Activations of about this many bytes are taken through all rows before the next: they stay in the second cache. */
const panelBytes: i32 = 196_608;

export function blockBytes(columns: i32, format: i32): usize {
  if (format === formatF32) return <usize>columns * rowsInBlock * 4;
  return <usize>((columns + columnsInGroup - 1) / columnsInGroup) * int8BlockBytes;
}

export function blocksOf(rows: i32): i32 {
  return (rows + rowsInBlock - 1) / rowsInBlock;
}

export function share(total: i32, part: i32, parts: i32): i32 {
  return <i32>((<i64>total * part) / parts);
}

/** `blocks` blocks from w on times one token: 16 values a block, contiguous at y. */
function product1(format: i32, w: usize, blocks: i32, columns: i32, x: usize, y: usize): void {
  if (format === formatF32) productF32x1(w, blocks, columns, x, y);
  else if (format === formatExact) productInt8Exact1(w, blocks, (columns + 31) & ~31, x, y);
  else productInt8Relaxed1(w, blocks, (columns + 31) & ~31, x, y);
}

function product2(
  format: i32,
  w: usize,
  blocks: i32,
  columns: i32,
  x0: usize,
  x1: usize,
  y0: usize,
  y1: usize,
): void {
  if (format === formatF32) productF32x2(w, blocks, columns, x0, x1, y0, y1);
  else if (format === formatExact) productInt8Exact2(w, blocks, (columns + 31) & ~31, x0, x1, y0, y1);
  else productInt8Relaxed2(w, blocks, (columns + 31) & ~31, x0, x1, y0, y1);
}

function product4(
  format: i32,
  w: usize,
  blocks: i32,
  columns: i32,
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  y0: usize,
  y1: usize,
  y2: usize,
  y3: usize,
): void {
  if (format === formatF32) productF32x4(w, blocks, columns, x0, x1, x2, x3, y0, y1, y2, y3);
  else if (format === formatExact)
    productInt8Exact4(w, blocks, (columns + 31) & ~31, x0, x1, x2, x3, y0, y1, y2, y3);
  else productInt8Relaxed4(w, blocks, (columns + 31) & ~31, x0, x1, x2, x3, y0, y1, y2, y3);
}

/** `blocks` whole blocks times `tokens` tokens that lie `xStride` and `yStride` bytes apart. */
function products(
  format: i32,
  w: usize,
  blocks: i32,
  columns: i32,
  tokens: i32,
  x: usize,
  xStride: usize,
  y: usize,
  yStride: usize,
): void {
  let t = 0;
  for (; t + 4 <= tokens; t += 4) {
    const x1 = x + xStride,
      x2 = x1 + xStride,
      x3 = x2 + xStride;
    const y1 = y + yStride,
      y2 = y1 + yStride,
      y3 = y2 + yStride;
    product4(format, w, blocks, columns, x, x1, x2, x3, y, y1, y2, y3);
    x = x3 + xStride;
    y = y3 + yStride;
  }
  if (t + 2 <= tokens) {
    product2(format, w, blocks, columns, x, x + xStride, y, y + yStride);
    t += 2;
    x += xStride + xStride;
    y += yStride + yStride;
  }
  if (t < tokens) product1(format, w, blocks, columns, x, y);
}

/**
 * Rows of blocks [from, to) of a matrix for all tokens. Where a matrix ends inside a block, that block's values go
 * by way of `work`.
 */
function rowsOf(
  format: i32,
  w: usize,
  rows: i32,
  from: i32,
  to: i32,
  columns: i32,
  tokens: i32,
  x: usize,
  xStride: usize,
  y: usize,
  yStride: usize,
  work: usize,
): void {
  const bytes = blockBytes(columns, format);
  const whole = min(to, rows / rowsInBlock);
  if (from < whole) {
    if (tokens <= 2 || tokens === 4) {
      products(
        format,
        w + <usize>from * bytes,
        whole - from,
        columns,
        tokens,
        x,
        xStride,
        y + ((<usize>from) << 6),
        yStride,
      );
    } else {
      for (let block = from; block < whole; block++) {
        products(
          format,
          w + <usize>block * bytes,
          1,
          columns,
          tokens,
          x,
          xStride,
          y + ((<usize>block) << 6),
          yStride,
        );
      }
    }
  }
  if (whole < to) {
    const rest = (<usize>(rows - whole * rowsInBlock)) << 2;
    for (let t = 0; t < tokens; t++) {
      product1(format, w + <usize>whole * bytes, 1, columns, x + <usize>t * xStride, work);
      memory.copy(y + <usize>t * yStride + ((<usize>whole) << 6), work, rest);
    }
  }
}

/** All tokens of x quantised to `to`, one record after the other, a part of them by this thread. */
function quantiseTokens(
  to: usize,
  x: usize,
  xStride: usize,
  tokens: i32,
  columns: i32,
  format: i32,
  thread: i32,
  threads: i32,
): void {
  const record = <usize>recordBytes(columns, format),
    work = threadMemoryAt + <usize>thread * threadMemoryBytes;
  for (let t = share(tokens, thread, threads), end = share(tokens, thread + 1, threads); t < end; t++) {
    quantise(to + <usize>t * record, x + <usize>t * xStride, columns, format, work);
  }
}

/** out[t] = matrix times x[t]. quants: room for the tokens' records, where the format is an int8 one. */
export function matmul(
  format: i32,
  matrix: usize,
  rows: i32,
  columns: i32,
  tokens: i32,
  x: usize,
  out: usize,
  quants: usize,
  thread: i32,
  threads: i32,
): void {
  let xStride = (<usize>columns) << 2;
  if (format !== formatF32) {
    quantiseTokens(quants, x, xStride, tokens, columns, format, thread, threads);
    barrier(threads);
    x = quants;
    xStride = <usize>recordBytes(columns, format);
  }
  const work = threadMemoryAt + <usize>thread * threadMemoryBytes,
    yStride = (<usize>rows) << 2;
  const blocks = blocksOf(rows),
    from = share(blocks, thread, threads),
    to = share(blocks, thread + 1, threads);
  const panel = max(4, (panelBytes / <i32>xStride) & ~3);
  for (let t = 0; t < tokens; t += panel) {
    const count = min(panel, tokens - t);
    const xs = x + <usize>t * xStride,
      ys = out + <usize>t * yStride;
    rowsOf(format, matrix, rows, from, to, columns, count, xs, xStride, ys, yStride, work);
  }
}

/** A product a head. matrices: their addresses. All blocks of all heads are divided among the threads. */
export function matmulHeads(
  format: i32,
  matrices: usize,
  heads: i32,
  rows: i32,
  columns: i32,
  tokens: i32,
  x: usize,
  xWidth: i32,
  out: usize,
  outWidth: i32,
  quants: usize,
  thread: i32,
  threads: i32,
): void {
  let xStride = (<usize>xWidth) << 2;
  if (format !== formatF32) {
    quantiseTokens(quants, x, xStride, tokens * heads, columns, format, thread, threads);
    barrier(threads);
    x = quants;
    xStride = <usize>recordBytes(columns, format);
  }
  const work = threadMemoryAt + <usize>thread * threadMemoryBytes,
    yStride = (<usize>outWidth) << 2;
  const blocks = blocksOf(rows);
  let unit = share(blocks * heads, thread, threads);
  const end = share(blocks * heads, thread + 1, threads);
  while (unit < end) {
    const head = unit / blocks,
      from = unit - head * blocks,
      to = min(blocks, from + end - unit);
    const matrix = load<usize>(matrices + ((<usize>head) << 2));
    const xs = x + <usize>head * xStride,
      ys = out + <usize>head * yStride;
    rowsOf(format, matrix, rows, from, to, columns, tokens, xs, xStride * heads, ys, yStride * heads, work);
    unit += to - from;
  }
}

/** An expert's work on one unit of rows, beside what each of its tokens adds. */
const costOfWeights: i32 = 2;

/**
 * SwiGLU for each expert's tokens: out[token] += weight * down(silu(gate x) * up x), or = where `weights` is 0.
 *
 * matrices: for each of `experts` entries the addresses of gate, up and down. firstSlot: [experts + 1]. tokens: the
 * row of each slot, or 0 where slot and row are the same. hidden values go to `inner` [slots, intermediate], or as
 * records where the format is an int8 one; quants: records of x.
 */
export function experts(
  format: i32,
  matrices: usize,
  experts: i32,
  hidden: i32,
  intermediate: i32,
  rowsOfX: i32,
  x: usize,
  out: usize,
  firstSlot: usize,
  tokens: usize,
  weights: usize,
  quants: usize,
  inner: usize,
  thread: i32,
  threads: i32,
): void {
  let xStride = (<usize>hidden) << 2,
    innerStride = ((<usize>intermediate + 31) & ~31) << 2;
  if (format !== formatF32) {
    quantiseTokens(quants, x, xStride, rowsOfX, hidden, format, thread, threads);
    x = quants;
    xStride = <usize>recordBytes(hidden, format);
    innerStride = <usize>recordBytes(intermediate, format);
    barrier(threads);
  }
  const work = threadMemoryAt + <usize>thread * threadMemoryBytes;
  gateAndUp(
    format,
    matrices,
    experts,
    hidden,
    intermediate,
    x,
    xStride,
    firstSlot,
    tokens,
    inner,
    innerStride,
    work,
    thread,
    threads,
  );
  barrier(threads);
  const blocks = blocksOf(hidden),
    from = share(blocks, thread, threads),
    to = share(blocks, thread + 1, threads);
  for (let e = 0; e < experts; e++) {
    const down = load<usize>(matrices + <usize>e * 12, 8);
    const first = load<i32>(firstSlot + ((<usize>e) << 2)),
      last = load<i32>(firstSlot + ((<usize>e) << 2), 4);
    downTo(
      format,
      down,
      hidden,
      intermediate,
      from,
      to,
      first,
      last,
      inner,
      innerStride,
      out,
      tokens,
      weights,
      work,
    );
  }
}

/** The units of 32 inner rows of all experts, divided by what they cost. A unit is a group of the next product. */
function gateAndUp(
  format: i32,
  matrices: usize,
  experts: i32,
  hidden: i32,
  intermediate: i32,
  x: usize,
  xStride: usize,
  firstSlot: usize,
  tokens: usize,
  inner: usize,
  innerStride: usize,
  work: usize,
  thread: i32,
  threads: i32,
): void {
  const units = (intermediate + columnsInGroup - 1) / columnsInGroup;
  const slots = load<i32>(firstSlot + ((<usize>experts) << 2));
  const total = <i64>units * (slots + experts * costOfWeights);
  const begin = (total * thread) / threads,
    end = (total * (thread + 1)) / threads;
  let cost: i64 = 0;
  for (let e = 0; e < experts; e++) {
    const first = load<i32>(firstSlot + ((<usize>e) << 2)),
      last = load<i32>(firstSlot + ((<usize>e) << 2), 4);
    const each = <i64>(last - first + costOfWeights);
    const gate = load<usize>(matrices + <usize>e * 12),
      up = load<usize>(matrices + <usize>e * 12, 4);
    for (let unit = 0; unit < units; unit++, cost += each) {
      if (cost < begin) continue;
      if (cost >= end) return;
      for (let slot = first; slot < last; slot += 4) {
        unitOfInner(
          format,
          gate,
          up,
          hidden,
          intermediate,
          unit,
          slot,
          min(4, last - slot),
          x,
          xStride,
          tokens,
          inner,
          innerStride,
          work,
        );
      }
    }
  }
}

function rowOf(tokens: usize, slot: i32): usize {
  return <usize>(tokens === 0 ? slot : load<i32>(tokens + ((<usize>slot) << 2)));
}

/** work holds [4 tokens][32] of gate, the same of up, and room for siluMultiply. */
function unitOfInner(
  format: i32,
  gate: usize,
  up: usize,
  hidden: i32,
  intermediate: i32,
  unit: i32,
  slot: i32,
  count: i32,
  x: usize,
  xStride: usize,
  tokens: usize,
  inner: usize,
  innerStride: usize,
  work: usize,
): void {
  const blocks = min(2, blocksOf(intermediate) - unit * 2),
    offset = <usize>unit * 2 * blockBytes(hidden, format);
  const ups = work + 512,
    scratch = work + 1024;
  // The second half of a last unit with one block.
  if (blocks < 2) memory.fill(work, 0, 1024);
  const x0 = x + rowOf(tokens, slot) * xStride;
  if (count === 1) {
    product1(format, gate + offset, blocks, hidden, x0, work);
    product1(format, up + offset, blocks, hidden, x0, ups);
  } else {
    const x1 = x + rowOf(tokens, slot + 1) * xStride;
    if (count === 4) {
      const x2 = x + rowOf(tokens, slot + 2) * xStride,
        x3 = x + rowOf(tokens, slot + 3) * xStride;
      product4(
        format,
        gate + offset,
        blocks,
        hidden,
        x0,
        x1,
        x2,
        x3,
        work,
        work + 128,
        work + 256,
        work + 384,
      );
      product4(format, up + offset, blocks, hidden, x0, x1, x2, x3, ups, ups + 128, ups + 256, ups + 384);
    } else {
      product2(format, gate + offset, blocks, hidden, x0, x1, work, work + 128);
      product2(format, up + offset, blocks, hidden, x0, x1, ups, ups + 128);
      if (count === 3) {
        const x2 = x + rowOf(tokens, slot + 2) * xStride;
        product1(format, gate + offset, blocks, hidden, x2, work + 256);
        product1(format, up + offset, blocks, hidden, x2, ups + 256);
      }
    }
  }
  siluMultiply(work, ups, scratch, count * columnsInGroup);
  for (let t = 0; t < count; t++) {
    const values = work + ((<usize>t) << 7),
      to = inner + <usize>(slot + t) * innerStride;
    if (format === formatF32) memory.copy(to + ((<usize>unit) << 7), values, columnsInGroup * 4);
    else quantiseGroup(to + <usize>unit * recordBytes(columnsInGroup, format), values, format);
  }
}

/** Blocks of rows that `downTo` computes before it adds them: 4 tokens of 128 rows. */
const downBlocks: i32 = 8;

/** Blocks [from, to) of one expert's output for its slots. Each row of out belongs to one thread. */
function downTo(
  format: i32,
  down: usize,
  hidden: i32,
  intermediate: i32,
  from: i32,
  to: i32,
  first: i32,
  last: i32,
  inner: usize,
  innerStride: usize,
  out: usize,
  tokens: usize,
  weights: usize,
  work: usize,
): void {
  const bytes = blockBytes(intermediate, format),
    workStride: usize = downBlocks * 64;
  for (let block = from; block < to; block += downBlocks) {
    const blocks = min(downBlocks, to - block),
      firstRow = block * rowsInBlock;
    const rows = min(blocks * rowsInBlock, hidden - firstRow);
    for (let slot = first; slot < last; slot += 4) {
      const count = min(4, last - slot),
        xs = inner + <usize>slot * innerStride;
      products(
        format,
        down + <usize>block * bytes,
        blocks,
        intermediate,
        count,
        xs,
        innerStride,
        work,
        workStride,
      );
      for (let t = 0; t < count; t++) {
        const values = work + <usize>t * workStride;
        const to = out + ((rowOf(tokens, slot + t) * <usize>hidden + <usize>firstRow) << 2);
        if (weights === 0) memory.copy(to, values, (<usize>rows) << 2);
        else addScaled(to, load<f32>(weights + ((<usize>(slot + t)) << 2)), values, rows);
      }
    }
  }
}
