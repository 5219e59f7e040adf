/** Weights into the packed layouts, and rows out of them. README.md draws the layouts. */
import {
  columnsInGroup,
  formatF32,
  formatRelaxed,
  int8BlockBytes,
  int8Offset,
  int8ScaleBytes,
  rowsInBlock,
} from "../constants";

/** Rows [from, to) of row-major `values`, whose first is row `first` of the matrix. */
export function pack(
  matrix: usize,
  columns: i32,
  format: i32,
  first: i32,
  from: i32,
  to: i32,
  values: usize,
): void {
  for (let row = from; row < to; row++) {
    const x = values + ((<usize>row * columns) << 2);
    if (format === formatF32) packRowF32(matrix, columns, first + row, x);
    else packRowInt8(matrix, columns, format, first + row, x);
  }
}

function packRowF32(matrix: usize, columns: i32, row: i32, x: usize): void {
  let to = matrix + (<usize>(row / rowsInBlock) * columns * rowsInBlock + (row % rowsInBlock)) * 4;
  for (let column = 0; column < columns; column++) {
    store<f32>(to, load<f32>(x));
    to += rowsInBlock * 4;
    x += 4;
  }
}

/** Where in a block the weight of a row and a column lies: each row's 4 (relaxed) or 2 (exact) columns together. */
function weightOffset(format: i32, lane: i32, column: i32): i32 {
  if (format === formatRelaxed) return int8ScaleBytes + ((column >> 2) << 6) + (lane << 2) + (column & 3);
  return int8ScaleBytes + ((column >> 1) << 5) + (lane << 1) + (column & 1);
}

function isNotANumber(value: f32): bool {
  return (reinterpret<u32>(value) & 0x7fffffff) > 0x7f800000;
}

/** The nearest bf16, ties to even, as the f32 it stands for. Not-a-number stays one. */
function roundToBf16(value: f32): f32 {
  if (isNotANumber(value)) return value;
  const bits = reinterpret<u32>(value);
  return reinterpret<f32>((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000);
}

/** Quants are chosen for the scale as it is stored: its rounding then costs nothing. */
function packRowInt8(matrix: usize, columns: i32, format: i32, row: i32, x: usize): void {
  const groups = (columns + columnsInGroup - 1) / columnsInGroup,
    lane = row % rowsInBlock;
  let block = matrix + <usize>(row / rowsInBlock) * groups * int8BlockBytes;
  for (let group = 0; group < groups; group++) {
    const count = min(columns - group * columnsInGroup, columnsInGroup);
    let largest: f32 = 0;
    for (let i = 0; i < count; i++) {
      const size = abs(load<f32>(x + ((<usize>i) << 2)));
      if (!(size <= largest)) largest = size;
    }
    const scale = roundToBf16(largest / <f32>127);
    const inverse: f32 = scale > 1e-37 ? <f32>1 / scale : 0;
    store<u16>(
      block + (lane << 1),
      <u16>(reinterpret<u32>(scale > 1e-37 || isNotANumber(scale) ? scale : 0) >> 16),
    );
    for (let i = 0; i < columnsInGroup; i++) {
      const value: f32 = i < count ? nearest(load<f32>(x + ((<usize>i) << 2)) * inverse) : 0;
      const quant = value >= 127 ? 127 : value <= -127 ? -127 : isNotANumber(value) ? 0 : <i32>value;
      store<u8>(block + weightOffset(format, lane, i), quant + int8Offset);
    }
    block += int8BlockBytes;
    x += columnsInGroup * 4;
  }
}

/** out[i] = row ids[i] of the matrix. */
export function gather(
  out: usize,
  matrix: usize,
  columns: i32,
  format: i32,
  ids: usize,
  from: i32,
  to: i32,
): void {
  for (let i = from; i < to; i++) {
    const row = load<i32>(ids + ((<usize>i) << 2));
    const values = out + ((<usize>i * columns) << 2);
    if (format === formatF32) gatherF32(values, matrix, columns, row);
    else gatherInt8(values, matrix, columns, format, row);
  }
}

function gatherF32(out: usize, matrix: usize, columns: i32, row: i32): void {
  let from = matrix + (<usize>(row / rowsInBlock) * columns * rowsInBlock + (row % rowsInBlock)) * 4;
  for (let column = 0; column < columns; column++) {
    store<f32>(out, load<f32>(from));
    from += rowsInBlock * 4;
    out += 4;
  }
}

function gatherInt8(out: usize, matrix: usize, columns: i32, format: i32, row: i32): void {
  const groups = (columns + columnsInGroup - 1) / columnsInGroup,
    lane = row % rowsInBlock;
  let block = matrix + <usize>(row / rowsInBlock) * groups * int8BlockBytes;
  for (let column = 0; column < columns; column++) {
    const i = column % columnsInGroup;
    if (column > 0 && i === 0) block += int8BlockBytes;
    const scale = reinterpret<f32>((<u32>load<u16>(block + (lane << 1))) << 16);
    const quant = <i32>load<u8>(block + weightOffset(format, lane, i)) - int8Offset;
    store<f32>(out, <f32>quant * scale);
    out += 4;
  }
}
