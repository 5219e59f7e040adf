/**
 * What JavaScript calls: `run` executes the program that lies at programAt, as one of the threads; `work` is a
 * thread's life. A command is its code, the number of its words, and its arguments.
 */
import {
  commandAdd,
  commandAttend,
  commandEnd,
  commandExperts,
  commandGather,
  commandMatmul,
  commandMatmulHeads,
  commandNorm,
  commandPack,
  commandRead,
  commandStore,
  programAt,
} from "../constants";
import { attend, storeSlice } from "./attention";
import { experts, matmul, matmulHeads, share } from "./matmul";
import { gather, pack } from "./pack";
import { barrier, isStopped, nextEpoch, publish, spin } from "./threads";
import { addTo, norm, read } from "./vector";

export { spin };

/** Thread 0: the program from its beginning to its end, with all threads. Returns when all are done. */
export function run(threads: i32): void {
  if (threads > 1) publish();
  execute(0, threads);
}

/** Another thread: every program, until it is told to stop. */
export function work(thread: i32, threads: i32): void {
  let epoch = nextEpoch(0);
  while (!isStopped()) {
    execute(thread, threads);
    epoch = nextEpoch(epoch);
  }
}

function integer(command: usize, index: i32): i32 {
  return load<i32>(command + ((<usize>index) << 2));
}

function address(command: usize, index: i32): usize {
  return load<usize>(command + ((<usize>index) << 2));
}

function execute(thread: i32, threads: i32): void {
  let c: usize = programAt;
  let code = load<i32>(c);
  while (code !== commandEnd) {
    // Read before the last barrier: behind it thread 0 may write the next program.
    const next = c + ((<usize>integer(c, 1)) << 2);
    const nextCode = load<i32>(next);
    switch (code) {
      case commandMatmul:
        matmul(
          integer(c, 2),
          address(c, 3),
          integer(c, 4),
          integer(c, 5),
          integer(c, 6),
          address(c, 7),
          address(c, 8),
          address(c, 9),
          thread,
          threads,
        );
        break;
      case commandMatmulHeads:
        matmulHeads(
          integer(c, 2),
          address(c, 3),
          integer(c, 4),
          integer(c, 5),
          integer(c, 6),
          integer(c, 7),
          address(c, 8),
          integer(c, 9),
          address(c, 10),
          integer(c, 11),
          address(c, 12),
          thread,
          threads,
        );
        break;
      case commandExperts:
        experts(
          integer(c, 2),
          address(c, 3),
          integer(c, 4),
          integer(c, 5),
          integer(c, 6),
          integer(c, 7),
          address(c, 8),
          address(c, 9),
          address(c, 10),
          address(c, 11),
          address(c, 12),
          address(c, 13),
          address(c, 14),
          thread,
          threads,
        );
        break;
      case commandNorm:
        norms(c, thread, threads);
        break;
      case commandAdd:
        add(c, thread, threads);
        break;
      case commandStore:
        store_(c, thread, threads);
        break;
      case commandAttend:
        attend(
          address(c, 2),
          address(c, 3),
          address(c, 4),
          integer(c, 5),
          address(c, 6),
          integer(c, 7),
          integer(c, 8),
          integer(c, 9),
          integer(c, 10),
          integer(c, 11),
          integer(c, 12),
          load<f32>(c, 52),
          thread,
          threads,
        );
        break;
      case commandPack:
        pack(
          address(c, 2),
          integer(c, 3),
          integer(c, 4),
          integer(c, 5),
          integer(c, 6),
          address(c, 7),
          thread,
          threads,
        );
        break;
      case commandGather:
        gather(
          address(c, 2),
          address(c, 3),
          integer(c, 4),
          integer(c, 5),
          address(c, 6),
          share(integer(c, 7), thread, threads),
          share(integer(c, 7), thread + 1, threads),
        );
        break;
      case commandRead:
        readShare(address(c, 2), integer(c, 3), thread, threads);
        break;
      default:
        unreachable();
    }
    barrier(threads);
    c = next;
    code = nextCode;
  }
}

/** out, x, weight, width, rows, stride (values), two words that nobody reads, epsilon (f64). */
function norms(c: usize, thread: i32, threads: i32): void {
  const rows = integer(c, 6),
    stride = (<usize>integer(c, 7)) << 2;
  for (let row = share(rows, thread, threads), end = share(rows, thread + 1, threads); row < end; row++) {
    const offset = <usize>row * stride;
    norm(address(c, 2) + offset, address(c, 3) + offset, address(c, 4), integer(c, 5), load<f64>(c, 32));
  }
}

/** out, x, length. Shares are whole cache lines. */
function add(c: usize, thread: i32, threads: i32): void {
  const length = integer(c, 4),
    lines = (length + 15) >> 4;
  const from = share(lines, thread, threads) << 4,
    to = min(length, share(lines, thread + 1, threads) << 4);
  addTo(address(c, 2) + ((<usize>from) << 2), address(c, 3) + ((<usize>from) << 2), to - from);
}

/** latents, slices, their number, cache, layers, layer, block tokens, width. */
function store_(c: usize, thread: i32, threads: i32): void {
  const slices = address(c, 3),
    count = integer(c, 4),
    width = integer(c, 9);
  for (let s = 0; s < count; s++) {
    const slice = slices + ((<usize>s) << 4),
      rows = integer(slice, 1);
    const latents = address(c, 2) + ((<usize>integer(slice, 0) * width) << 2);
    const from = share(rows, thread, threads),
      to = share(rows, thread + 1, threads);
    storeSlice(
      latents,
      from,
      to,
      integer(slice, 2),
      address(slice, 3),
      address(c, 5),
      integer(c, 6),
      integer(c, 7),
      integer(c, 8),
      width,
    );
  }
}

/** What was read last, so that no compiler leaves the reading out. */
let lastRead: i32 = 0;

function readShare(from: usize, lines: i32, thread: i32, threads: i32): void {
  const first = share(lines, thread, threads),
    end = share(lines, thread + 1, threads);
  lastRead = read(from + ((<usize>first) << 6), (<usize>(end - first)) << 6);
}

export function lastValueRead(): i32 {
  return lastRead;
}
