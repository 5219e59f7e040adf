/** What memory allows: the bound that a benchmark's figures are put beside. */
import { type KernelOps, openOps } from "./ops.ts";

/** Several times the largest cache. */
const bytes = 256 * 1024 * 1024;
const rounds = 9;

/**
 * How fast `threads` threads read memory in order, 16 bytes at a time, and do nothing with it. The median of some
 * rounds after a warm-up; in the same run and on the same machine as what is compared with it.
 */
export async function plainRead(threads: number): Promise<{ bytesPerSecond: number }> {
  const ops = await openOps({ weights: "f32", threads });
  // Written, since pages that were only reserved are all the same page of zeros.
  const tensor = ops.tensor(bytes / 4).fill(1);
  const seconds = Array.from({ length: rounds + 2 }, () => secondsToRead(ops, tensor)).slice(2);
  ops.close();
  seconds.sort((a, b) => a - b);
  return { bytesPerSecond: bytes / seconds[Math.floor(rounds / 2)] };
}

function secondsToRead(ops: KernelOps, tensor: Float32Array): number {
  const started = performance.now();
  ops.read(tensor.byteOffset, tensor.byteLength);
  return (performance.now() - started) / 1000;
}
