/**
 * Products of packed matrices with any number of tokens: which rows a thread takes, in which order it goes over
 * blocks and tokens, and what becomes of the last rows of a matrix. A sum never spans threads.
 */
import {
  columnsInGroup,
  fewSlots,
  formatExact,
  formatF32,
  int8BlockBytes,
  rowsInBlock,
  threadMemoryBytes,
} from "../constants";
import { productF32x, productInt8Exact, productInt8Relaxed } from "./products";
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

/** Tokens that go over weights together. */
const tileTokens: i32 = 8;
/** Where in a thread's memory the addresses of a tile's activations stand: at its end. */
const tileAt: usize = threadMemoryBytes - 64;

function setToken(work: usize, index: i32, x: usize): void {
  store<usize>(work + tileAt + ((<usize>index) << 2), x);
}

/** `blocks` blocks from w on times the `count` tokens that were set: 16 values a block, contiguous at y. */
function tile(
  format: i32,
  w: usize,
  blocks: i32,
  columns: i32,
  count: i32,
  y: usize,
  yStride: usize,
  work: usize,
): void {
  const xs = work + tileAt;
  if (format === formatF32) tileF32(w, blocks, columns, count, xs, y, yStride);
  else if (format === formatExact) productInt8Exact(w, blocks, (columns + 31) & ~31, count, xs, y, yStride);
  else productInt8Relaxed(w, blocks, (columns + 31) & ~31, count, xs, y, yStride);
}

/** Four tokens' sums fill the registers: more go over each block in two parts. */
function tileF32(w: usize, blocks: i32, columns: i32, count: i32, xs: usize, y: usize, yStride: usize): void {
  if (count <= 4) {
    productF32x(w, blocks, columns, count, xs, y, yStride);
    return;
  }
  for (let block = 0; block < blocks; block++) {
    productF32x(w, 1, columns, 4, xs, y, yStride);
    productF32x(w, 1, columns, count - 4, xs + 16, y + (yStride << 2), yStride);
    w += blockBytes(columns, formatF32);
    y += 64;
  }
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
  work: usize,
): void {
  for (let t = 0; t < tokens; t += tileTokens) {
    const count = min(tileTokens, tokens - t);
    for (let i = 0; i < count; i++, x += xStride) setToken(work, i, x);
    tile(format, w, blocks, columns, count, y, yStride, work);
    y += yStride * count;
  }
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
    if (tokens <= tileTokens) {
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
        work,
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
          work,
        );
      }
    }
  }
  if (whole < to) {
    const rest = (<usize>(rows - whole * rowsInBlock)) << 2;
    for (let t = 0; t < tokens; t++) {
      setToken(work, 0, x + <usize>t * xStride);
      tile(format, w + <usize>whole * bytes, 1, columns, 1, work, 0, work);
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

/** Tokens that a piece of quantisation takes: a microsecond or so, since products wait for the last of them. */
function tokensInPiece(columns: i32): i32 {
  return max(1, 2048 / columns);
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

/** Units of 32 inner rows, each a group of the next product, that a piece takes at most: two long streams of weights. */
const longestUnits: i32 = 4;
/** Bytes of one of them. */
const streamBytes: i32 = 160_000;

/** Short pieces where there are few, and where tokens are many: then what they go over should stay in near memory. */
function unitsInPiece(format: i32, experts: i32, hidden: i32, intermediate: i32, slots: i32): i32 {
  if (slots > fewSlots && slots > experts * tileTokens) return 1;
  const fits = streamBytes / ((<i32>blockBytes(hidden, format)) << 1);
  const shares = (experts * ceilDivide(intermediate, columnsInGroup)) >> 4;
  return max(1, min(longestUnits, min(fits, shares)));
}

/** Blocks of output rows in a piece that goes through all experts: pieces enough for the threads. */
function downBlocksInPiece(slots: i32): i32 {
  return slots > fewSlots ? 2 : 4;
}

/** Whether each expert's results are computed apart, in long streams, and added up afterwards. */
function isApart(experts: i32, slots: i32): bool {
  return experts > 1 && slots <= fewSlots;
}

/** Blocks of output rows in a piece of one expert. */
function apartBlocksInPiece(format: i32, intermediate: i32): i32 {
  return max(1, streamBytes / <i32>blockBytes(intermediate, format));
}

/** Values of each slot that a piece adds up. */
const sumValues: i32 = 256;

/**
 * Phase 0 quantises x, phase 1 makes the inner values, phase 2 brings them down to the output's rows; phase 3 adds
 * up what was computed apart.
 */
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
  const slots = slotAt(firstSlot, experts);
  if (phase === 1) return experts * piecesOfExpert(format, experts, hidden, intermediate, slots);
  if (isApart(experts, slots)) {
    if (phase === 2) {
      return experts * ceilDivide(blocksOf(hidden), apartBlocksInPiece(format, intermediate));
    }
    return phase === 3 ? ceilDivide(hidden, sumValues) : -1;
  }
  return phase === 2 ? ceilDivide(blocksOf(hidden), downBlocksInPiece(slots)) : -1;
}

function piecesOfExpert(format: i32, experts: i32, hidden: i32, intermediate: i32, slots: i32): i32 {
  const each = unitsInPiece(format, experts, hidden, intermediate, slots);
  return ceilDivide(ceilDivide(intermediate, columnsInGroup), each);
}

function slotAt(firstSlot: usize, expert: i32): i32 {
  return load<i32>(firstSlot + ((<usize>expert) << 2));
}

/**
 * SwiGLU for each expert's tokens: out[token] += weight * down(silu(gate x) * up x), or = where `weights` is 0.
 *
 * matrices: for each of `experts` entries the addresses of gate, up and down. firstSlot: [experts + 1]. tokens: the
 * row of each slot, or 0 where slot and row are the same. Inner values go to `inner` [slots, intermediate], or as
 * records where the format is an int8 one; quants: records of x; results: [slots, hidden] of what is computed apart.
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
  results: usize,
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
  const slots = slotAt(firstSlot, experts);
  if (phase === 1) {
    const inExpert = piecesOfExpert(format, experts, hidden, intermediate, slots),
      expert = piece / inExpert;
    const entry = matrices + <usize>expert * 12,
      gate = load<usize>(entry),
      up = load<usize>(entry, 4);
    const first = slotAt(firstSlot, expert),
      last = slotAt(firstSlot, expert + 1);
    const each = unitsInPiece(format, experts, hidden, intermediate, slots),
      unit = (piece % inExpert) * each;
    const units = min(ceilDivide(intermediate, columnsInGroup) - unit, each);
    for (let slot = first; slot < last; slot += tileTokens) {
      unitsOfInner(
        format,
        gate,
        up,
        hidden,
        intermediate,
        unit,
        units,
        slot,
        min(tileTokens, last - slot),
        xs,
        xStride,
        tokens,
        inner,
        innerStride,
        work,
      );
    }
    return;
  }
  if (isApart(experts, slots)) {
    if (phase === 2) {
      const blocks = blocksOf(hidden),
        each = apartBlocksInPiece(format, intermediate),
        inExpert = ceilDivide(blocks, each);
      const expert = piece / inExpert,
        from = (piece % inExpert) * each,
        to = min(blocks, from + each);
      const first = slotAt(firstSlot, expert),
        count = slotAt(firstSlot, expert + 1) - first;
      const down = load<usize>(matrices + <usize>expert * 12, 8),
        yStride = (<usize>hidden) << 2;
      const xs = inner + <usize>first * innerStride,
        ys = results + <usize>first * yStride;
      rowsOf(format, down, hidden, from, to, intermediate, count, xs, innerStride, ys, yStride, work);
    } else {
      const from = piece * sumValues,
        count = min(sumValues, hidden - from);
      for (let slot = 0; slot < slots; slot++) {
        const to = out + ((rowOf(tokens, slot) * <usize>hidden + <usize>from) << 2);
        const values = results + ((<usize>slot * <usize>hidden + <usize>from) << 2);
        addScaled(to, load<f32>(weights + ((<usize>slot) << 2)), values, count);
      }
    }
    return;
  }
  const each = downBlocksInPiece(slots),
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

/** work holds [8 tokens][4 units of 32] of gate, the same of up, and room for siluMultiply. */
function unitsOfInner(
  format: i32,
  gate: usize,
  up: usize,
  hidden: i32,
  intermediate: i32,
  unit: i32,
  units: i32,
  slot: i32,
  count: i32,
  x: usize,
  xStride: usize,
  tokens: usize,
  inner: usize,
  innerStride: usize,
  work: usize,
): void {
  const blocks = min(units * 2, blocksOf(intermediate) - unit * 2),
    offset = <usize>unit * 2 * blockBytes(hidden, format);
  const stride: usize = longestUnits * columnsInGroup * 4,
    ups = work + stride * tileTokens,
    scratch = ups + stride * tileTokens;
  // The second half of a last unit with one block.
  if (blocks < units * 2) memory.fill(work, 0, stride * tileTokens * 2);
  for (let t = 0; t < count; t++) setToken(work, t, x + rowOf(tokens, slot + t) * xStride);
  tile(format, gate + offset, blocks, hidden, count, work, stride, work);
  tile(format, up + offset, blocks, hidden, count, ups, stride, work);
  for (let t = 0; t < count; t++) {
    const values = work + <usize>t * stride,
      to = inner + <usize>(slot + t) * innerStride;
    siluMultiply(values, ups + <usize>t * stride, scratch, units * columnsInGroup);
    for (let u = 0; u < units; u++) {
      const group = values + ((<usize>u) << 7);
      if (format === formatF32) memory.copy(to + ((<usize>(unit + u)) << 7), group, columnsInGroup * 4);
      else quantiseGroup(to + <usize>(unit + u) * recordBytes(columnsInGroup, format), group, format);
    }
  }
}

/** Blocks of rows that `downTo` computes before it adds them: 8 tokens of 128 rows. */
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
    for (let slot = first; slot < last; slot += tileTokens) {
      const count = min(tileTokens, last - slot),
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
        work,
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
