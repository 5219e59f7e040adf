/**
 * Products of packed matrices with any number of tokens: which rows a thread takes, in which order it goes over
 * blocks and tokens, and what becomes of the last rows of a matrix. A sum never spans threads.
 */
import { columnsInGroup, formatExact, formatF32, int8BlockBytes, rowsInBlock } from "../constants";
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

/** Bytes of weights that a piece reads, more or less, or does as much work with. */
const pieceBytes: i32 = 65_536;

/** Blocks of rows in a piece: fewer where many tokens go with them. */
function blocksInPiece(columns: i32, format: i32, tokens: i32): i32 {
  return max(1, pieceBytes / (<i32>blockBytes(columns, format) * max(1, tokens >> 2)));
}

function ceilDivide(total: i32, each: i32): i32 {
  return (total + each - 1) / each;
}

/** Tokens that a piece of quantisation takes. */
function tokensInPiece(columns: i32): i32 {
  return max(1, 16_384 / columns);
}

/** Pieces of the phase that quantises `tokens` tokens. */
function quantisePieces(format: i32, columns: i32, tokens: i32): i32 {
  return format === formatF32 ? 0 : ceilDivide(tokens, tokensInPiece(columns));
}

/** Some tokens of x quantised to `to`, one record after the other. */
function quantisePiece(
  piece: i32,
  to: usize,
  x: usize,
  xStride: usize,
  tokens: i32,
  columns: i32,
  format: i32,
  work: usize,
): void {
  const record = <usize>recordBytes(columns, format),
    each = tokensInPiece(columns),
    from = piece * each;
  for (let t = from, end = min(tokens, from + each); t < end; t++) {
    quantise(to + <usize>t * record, x + <usize>t * xStride, columns, format, work);
  }
}

/** Bytes from one token's activations to the next, as products read them. */
function strideOf(format: i32, columns: i32): usize {
  return format === formatF32 ? (<usize>columns) << 2 : <usize>recordBytes(columns, format);
}

function tokensInPanel(stride: usize): i32 {
  return max(4, (panelBytes / <i32>stride) & ~3);
}

/** Phase 0 quantises, phase 1 multiplies: panels of tokens, and for each of them pieces of rows. */
export function matmulPieces(phase: i32, format: i32, rows: i32, columns: i32, tokens: i32): i32 {
  if (phase === 0) return quantisePieces(format, columns, tokens);
  if (phase > 1) return -1;
  const panel = tokensInPanel(strideOf(format, columns));
  const each = blocksInPiece(columns, format, min(panel, tokens));
  return ceilDivide(tokens, panel) * ceilDivide(blocksOf(rows), each);
}

/** out[t] = matrix times x[t]. quants: room for the tokens' records, where the format is an int8 one. */
export function matmulPiece(
  phase: i32,
  piece: i32,
  format: i32,
  matrix: usize,
  rows: i32,
  columns: i32,
  tokens: i32,
  x: usize,
  out: usize,
  quants: usize,
  work: usize,
): void {
  if (phase === 0) {
    quantisePiece(piece, quants, x, (<usize>columns) << 2, tokens, columns, format, work);
    return;
  }
  const xStride = strideOf(format, columns),
    yStride = (<usize>rows) << 2;
  const panel = tokensInPanel(xStride),
    each = blocksInPiece(columns, format, min(panel, tokens));
  const blocks = blocksOf(rows),
    piecesInPanel = ceilDivide(blocks, each);
  const t = (piece / piecesInPanel) * panel,
    from = (piece % piecesInPanel) * each;
  const xs = (format === formatF32 ? x : quants) + <usize>t * xStride,
    ys = out + <usize>t * yStride;
  const count = min(panel, tokens - t),
    to = min(blocks, from + each);
  rowsOf(format, matrix, rows, from, to, columns, count, xs, xStride, ys, yStride, work);
}

export function headsPieces(phase: i32, format: i32, heads: i32, rows: i32, columns: i32, tokens: i32): i32 {
  if (phase === 0) return quantisePieces(format, columns, tokens * heads);
  if (phase > 1) return -1;
  return ceilDivide(heads, headsInPiece(format, rows, columns, tokens));
}

/** Whole heads: one is small. */
function headsInPiece(format: i32, rows: i32, columns: i32, tokens: i32): i32 {
  return max(1, blocksInPiece(columns, format, tokens) / blocksOf(rows));
}

/** A product a head. matrices: their addresses. */
export function headsPiece(
  phase: i32,
  piece: i32,
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
  work: usize,
): void {
  let xStride = (<usize>xWidth) << 2;
  if (phase === 0) {
    quantisePiece(piece, quants, x, xStride, tokens * heads, columns, format, work);
    return;
  }
  if (format !== formatF32) {
    x = quants;
    xStride = <usize>recordBytes(columns, format);
  }
  const yStride = (<usize>outWidth) << 2,
    blocks = blocksOf(rows);
  const each = headsInPiece(format, rows, columns, tokens);
  for (let head = piece * each, end = min(heads, head + each); head < end; head++) {
    const matrix = load<usize>(matrices + ((<usize>head) << 2));
    const xs = x + <usize>head * xStride,
      ys = out + <usize>head * yStride;
    rowsOf(format, matrix, rows, 0, blocks, columns, tokens, xs, xStride * heads, ys, yStride * heads, work);
  }
}

/** Units of 32 inner rows that a piece of an expert takes: each is a group of the next product. */
function unitsInPiece(format: i32, hidden: i32): i32 {
  return max(1, pieceBytes / ((<i32>blockBytes(hidden, format)) << 2));
}

/** Blocks of output rows in a piece, for all experts: pieces enough for the threads, streams not too short. */
function downBlocksInPiece(slots: i32): i32 {
  return slots > 64 ? 2 : 4;
}

/** Phase 0 quantises x, phase 1 makes the inner values, phase 2 brings them down to the output's rows. */
export function expertsPieces(
  phase: i32,
  format: i32,
  experts: i32,
  hidden: i32,
  intermediate: i32,
  rowsOfX: i32,
  firstSlot: usize,
): i32 {
  if (phase === 0) return quantisePieces(format, hidden, rowsOfX);
  if (phase === 1) return experts * piecesOfExpert(format, hidden, intermediate);
  if (phase > 2) return -1;
  return ceilDivide(blocksOf(hidden), downBlocksInPiece(slotAt(firstSlot, experts)));
}

function piecesOfExpert(format: i32, hidden: i32, intermediate: i32): i32 {
  return ceilDivide(ceilDivide(intermediate, columnsInGroup), unitsInPiece(format, hidden));
}

function slotAt(firstSlot: usize, expert: i32): i32 {
  return load<i32>(firstSlot + ((<usize>expert) << 2));
}

/**
 * SwiGLU for each expert's tokens: out[token] += weight * down(silu(gate x) * up x), or = where `weights` is 0.
 *
 * matrices: for each of `experts` entries the addresses of gate, up and down. firstSlot: [experts + 1]. tokens: the
 * row of each slot, or 0 where slot and row are the same. Inner values go to `inner` [slots, intermediate], or as
 * records where the format is an int8 one; quants: records of x.
 */
export function expertsPiece(
  phase: i32,
  piece: i32,
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
  work: usize,
): void {
  if (phase === 0) {
    quantisePiece(piece, quants, x, (<usize>hidden) << 2, rowsOfX, hidden, format, work);
    return;
  }
  const isF32 = format === formatF32;
  const xs = isF32 ? x : quants,
    xStride = strideOf(format, hidden);
  const innerStride = isF32
    ? ((<usize>intermediate + 31) & ~31) << 2
    : <usize>recordBytes(intermediate, format);
  if (phase === 1) {
    const inExpert = piecesOfExpert(format, hidden, intermediate),
      expert = piece / inExpert;
    const entry = matrices + <usize>expert * 12,
      gate = load<usize>(entry),
      up = load<usize>(entry, 4);
    const first = slotAt(firstSlot, expert),
      last = slotAt(firstSlot, expert + 1);
    const each = unitsInPiece(format, hidden),
      from = (piece % inExpert) * each;
    for (
      let unit = from, end = min(ceilDivide(intermediate, columnsInGroup), from + each);
      unit < end;
      unit++
    ) {
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
          xs,
          xStride,
          tokens,
          inner,
          innerStride,
          work,
        );
      }
    }
    return;
  }
  const each = downBlocksInPiece(slotAt(firstSlot, experts)),
    from = piece * each;
  const to = min(blocksOf(hidden), from + each);
  for (let e = 0; e < experts; e++) {
    const down = load<usize>(matrices + <usize>e * 12, 8);
    const first = slotAt(firstSlot, e),
      last = slotAt(firstSlot, e + 1);
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
