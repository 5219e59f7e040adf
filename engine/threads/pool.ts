/**
 * The threads that compute, over one shared memory. The calling thread is the first of them; with one thread no
 * other is started. How they share a command stands in kernels/assembly/threads.ts: who finds nothing to take spins
 * for some time and then sleeps, so an idle engine uses no processor.
 */
import { writeSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { sleepersAt, spinsAt, threadsAt } from "../kernels/constants.ts";
import { Instance, type WasmMemory, type WasmModule } from "../kernels/webassembly.ts";

export interface ThreadData {
  readonly module: WasmModule;
  readonly memory: WasmMemory;
  readonly thread: number;
}

interface Kernels {
  runAlone(): void;
  runShared(): void;
  stop(): void;
  spin(count: number): number;
}

/** Shorter spins fall asleep between two operations of one step, now and then, and then all the time. */
const spinMicroseconds = 60;

export class ThreadPool {
  readonly threads: number;
  readonly #kernels: Kernels;
  readonly #words: Int32Array;
  readonly #workers: readonly Worker[];

  private constructor(threads: number, kernels: Kernels, words: Int32Array, workers: readonly Worker[]) {
    this.threads = threads;
    this.#kernels = kernels;
    this.#words = words;
    this.#workers = workers;
  }

  static async open(module: WasmModule, memory: WasmMemory, threads: number): Promise<ThreadPool> {
    const { exports } = new Instance(module, { env: { memory } });
    const kernels = exports as unknown as Kernels;
    const words = new Int32Array(memory.buffer);
    words[threadsAt / 4] = threads;
    if (threads > 1) words[spinsAt / 4] = spinsIn(kernels, spinMicroseconds);
    const workers = await Promise.all(
      Array.from({ length: threads - 1 }, (_, i) => start({ module, memory, thread: i + 1 })),
    );
    return new ThreadPool(threads, kernels, words, workers);
  }

  /**
   * Does the command in memory, with the other threads where it is worth it. A trap is a bug and ends the process: the
   * command would never be done, and nobody can say what was written.
   */
  run(shared: boolean): void {
    try {
      if (shared && this.threads > 1) this.#kernels.runShared();
      else this.#kernels.runAlone();
    } catch (error) {
      writeSync(2, `engine: the kernels failed, so this process ends: ${(error as Error).stack}\n`);
      process.exit(1);
    }
  }

  /** How many of the other threads sleep now. */
  get sleeping(): number {
    return Atomics.load(this.#words, sleepersAt / 4);
  }

  close(): void {
    this.#kernels.stop();
    for (const worker of this.#workers) void worker.terminate();
  }
}

/** A worker that has its kernels and waits for work. It keeps no process alive. */
function start(data: ThreadData): Promise<Worker> {
  const worker = new Worker(join(import.meta.dirname, "worker.ts"), {
    workerData: data,
    execArgv: [], // what its parent was told, such as --eval, is not for it
    name: `kernels ${data.thread}`,
  });
  worker.unref();
  return new Promise((resolve, reject) => {
    worker.once("error", reject);
    worker.once("message", () => {
      worker.off("error", reject);
      worker.once("error", () => process.exit(1)); // it has said why
      resolve(worker);
    });
  });
}

/** How many looks at a word fit into a time. Measured, since processors differ; the shortest of some tries. */
function spinsIn(kernels: Kernels, microseconds: number): number {
  const count = 20_000;
  let shortest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    const started = performance.now();
    kernels.spin(count);
    shortest = Math.min(shortest, performance.now() - started);
  }
  return Math.ceil((count * microseconds) / 1000 / Math.max(shortest, 0.001));
}
