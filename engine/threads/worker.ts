/** One thread: takes pieces of the commands that the main thread gives, until it is told to stop. */
import { writeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { failedAt } from "../kernels/constants.ts";
import { Instance } from "../kernels/webassembly.ts";
import type { ThreadData } from "./pool.ts";

const { module, memory, thread } = workerData as ThreadData;
const { exports } = new Instance(module, { env: { memory } });
parentPort?.postMessage("ready");
try {
  (exports.work as (thread: number) => void)(thread);
} catch (error) {
  // Where the main thread waits in the kernels it hears of no event, but looks at this word when it waits long.
  writeSync(2, `engine: thread ${thread} failed: ${(error as Error).stack}\n`);
  Atomics.store(new Int32Array(memory.buffer), failedAt / 4, 1);
  throw error;
}
