/** One thread: runs every program that the main thread publishes, until it is told to stop. */
import { writeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { failedAt } from "../kernels/constants.ts";
import { Instance } from "../kernels/webassembly.ts";
import type { ThreadData } from "./pool.ts";

const { module, memory, thread, threads } = workerData as ThreadData;
const { exports } = new Instance(module, { env: { memory } });
parentPort?.postMessage("ready");
try {
  (exports.work as (thread: number, threads: number) => void)(thread, threads);
} catch (error) {
  // The main thread waits in the kernels and would not hear of an event: it looks at this word when it waits long.
  writeSync(2, `engine: thread ${thread} failed: ${(error as Error).stack}\n`);
  Atomics.store(new Int32Array(memory.buffer), failedAt / 4, 1);
}
