/**
 * The commands: how many pieces each phase of one has (0 = nothing to do in it, less = there is no such phase), and
 * what a piece does. Arguments are words behind the command's code; ../ops.ts writes them in the same order.
 */
import {
  commandAdd,
  commandAt,
  commandAttend,
  commandExperts,
  commandGather,
  commandMatmul,
  commandMatmulHeads,
  commandNorm,
  commandPack,
  commandRead,
  commandStore,
  threadMemoryAt,
  threadMemoryBytes,
} from "../constants";
import { attendPiece, attendPieces, storeSlice } from "./attention";
import { expertsPiece, expertsPieces, headsPiece, headsPieces, matmulPiece, matmulPieces } from "./matmul";
import { gather, pack } from "./pack";
import { addTo, norm, read } from "./vector";

/** Values that an elementwise piece takes, more or less. */
const pieceValues: i32 = 16_384;

function integer(index: i32): i32 {
  return load<i32>(commandAt + ((<usize>index) << 2));
}

function address(index: i32): usize {
  return load<usize>(commandAt + ((<usize>index) << 2));
}

/** Rows of `width` values that make a piece. */
function rowsInPiece(width: i32): i32 {
  return max(1, pieceValues / width);
}

function pieces(total: i32, each: i32): i32 {
  return (total + each - 1) / each;
}

export function piecesOf(phase: i32): i32 {
  const code = integer(0);
  if (code === commandMatmul) return matmulPieces(phase, integer(1), integer(3), integer(4), integer(5));
  if (code === commandMatmulHeads) {
    return headsPieces(phase, integer(1), integer(3), integer(4), integer(5), integer(6));
  }
  if (code === commandExperts) {
    return expertsPieces(phase, integer(1), integer(3), integer(4), integer(5), integer(6), address(9));
  }
  if (phase > 0) return -1;
  if (code === commandNorm) return pieces(integer(5), rowsInPiece(integer(4)));
  if (code === commandAdd) return pieces(integer(3), pieceValues);
  if (code === commandStore) return integer(3);
  if (code === commandAttend) return attendPieces(address(3), integer(4), integer(11));
  if (code === commandPack) return pieces(integer(5), rowsInPiece(integer(2)));
  if (code === commandGather) return pieces(integer(6), rowsInPiece(integer(3)));
  if (code === commandRead) return pieces(integer(2), linesInPiece);
  unreachable();
  return -1;
}

export function perform(phase: i32, piece: i32, thread: i32): void {
  const code = integer(0),
    work = threadMemoryAt + <usize>thread * threadMemoryBytes;
  if (code === commandMatmul) {
    matmulPiece(
      phase,
      piece,
      integer(1),
      address(2),
      integer(3),
      integer(4),
      integer(5),
      address(6),
      address(7),
      address(8),
      work,
    );
  } else if (code === commandMatmulHeads) {
    headsPiece(
      phase,
      piece,
      integer(1),
      address(2),
      integer(3),
      integer(4),
      integer(5),
      integer(6),
      address(7),
      integer(8),
      address(9),
      integer(10),
      address(11),
      work,
    );
  } else if (code === commandExperts) {
    expertsPiece(
      phase,
      piece,
      integer(1),
      address(2),
      integer(3),
      integer(4),
      integer(5),
      integer(6),
      address(7),
      address(8),
      address(9),
      address(10),
      address(11),
      address(12),
      address(13),
      address(14),
      work,
    );
  } else if (code === commandAttend) {
    attendPiece(
      piece,
      address(1),
      address(2),
      address(3),
      address(5),
      integer(6),
      integer(7),
      integer(8),
      integer(9),
      integer(10),
      integer(11),
      load<f32>(commandAt, 48),
      work,
    );
  } else if (code === commandNorm) norms(piece);
  else if (code === commandAdd) add(piece);
  else if (code === commandStore) storePiece(piece);
  else if (code === commandPack) packPiece(piece);
  else if (code === commandGather) gatherPiece(piece);
  else if (code === commandRead) readPiece(piece);
  else unreachable();
}

/** out, x, weight, width, rows, stride (values), a word that nobody reads, epsilon (f64). */
function norms(piece: i32): void {
  const width = integer(4),
    each = rowsInPiece(width),
    stride = (<usize>integer(6)) << 2;
  for (let row = piece * each, end = min(integer(5), row + each); row < end; row++) {
    const offset = <usize>row * stride;
    norm(address(1) + offset, address(2) + offset, address(3), width, load<f64>(commandAt, 32));
  }
}

/** out, x, length. */
function add(piece: i32): void {
  const from = piece * pieceValues,
    count = min(pieceValues, integer(3) - from),
    offset = (<usize>from) << 2;
  addTo(address(1) + offset, address(2) + offset, count);
}

/** latents, slices, their number, cache, layers, layer, block tokens, width. A piece is a slice. */
function storePiece(piece: i32): void {
  const slice = address(2) + ((<usize>piece) << 4),
    width = integer(8);
  const latents = address(1) + ((load<usize>(slice) * width) << 2);
  storeSlice(
    latents,
    load<i32>(slice, 4),
    load<i32>(slice, 8),
    load<usize>(slice, 12),
    address(4),
    integer(5),
    integer(6),
    integer(7),
    width,
  );
}

/** matrix, columns, format, first row, rows, values. */
function packPiece(piece: i32): void {
  const each = rowsInPiece(integer(2)),
    from = piece * each;
  pack(address(1), integer(2), integer(3), integer(4), from, min(integer(5), from + each), address(6));
}

/** out, matrix, columns, format, ids, their number. */
function gatherPiece(piece: i32): void {
  const each = rowsInPiece(integer(3)),
    from = piece * each;
  gather(address(1), address(2), integer(3), integer(4), address(5), from, min(integer(6), from + each));
}

/** 256 KB. */
const linesInPiece: i32 = 4096;
/** What was read last, so that no compiler leaves the reading out. */
let lastRead: i32 = 0;

/** from, lines of 64 bytes. */
function readPiece(piece: i32): void {
  const from = piece * linesInPiece,
    lines = min(linesInPiece, integer(2) - from);
  lastRead = read(address(1) + ((<usize>from) << 6), (<usize>lines) << 6);
}

export function lastValueRead(): i32 {
  return lastRead;
}
