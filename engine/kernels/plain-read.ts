/** What memory allows: the bound that a benchmark's figures are put beside. */
import type { KernelOps } from "./ops.ts";

const passes = 2;

/**
 * Bytes a second that the operations' threads read in order, 16 bytes at a time, doing nothing with them: `bytes` from
 * address `from` on, several times what caches hold, and written before, since pages that were only reserved are all
 * the same page of zeros. The faster of two passes, for the first one wakes threads. To be taken in turns with what is
 * compared with it: memory's speed changes from second to second where machines are shared.
 */
export function plainRead(ops: KernelOps, from: number, bytes: number): number {
  const seconds = Array.from({ length: passes }, () => {
    const started = performance.now();
    ops.read(from, bytes);
    return (performance.now() - started) / 1000;
  });
  return bytes / Math.min(...seconds);
}
