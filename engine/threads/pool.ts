/**
 * The threads that compute, over one shared memory. The calling thread is the first of them; with one thread no
 * other is started. They meet in the kernels (kernels/assembly/threads.ts): a barrier spins for some time and then
 * sleeps, so an idle engine uses no processor.
 */
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { epochAt, spinsAt, stopAt } from "../kernels/constants.ts";
import { Instance, type WasmMemory, type WasmModule } from "../kernels/webassembly.ts";

export interface ThreadData {
  readonly module: WasmModule;
  readonly memory: WasmMemory;
  readonly thread: number;
  readonly threads: number;
}

interface Kernels {
  run(threads: number): void;
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
    if (threads > 1) words[spinsAt / 4] = spinsIn(kernels, spinMicroseconds);
    const workers = await Promise.all(
      Array.from({ length: threads - 1 }, (_, i) => start({ module, memory, thread: i + 1, threads })),
    );
    return new ThreadPool(threads, kernels, words, workers);
  }

  /** Executes the program in memory on `threads` of the threads: all of them or this one alone. */
  run(threads: number): void {
    this.#kernels.run(threads);
  }

  close(): void {
    Atomics.store(this.#words, stopAt / 4, 1);
    Atomics.add(this.#words, epochAt / 4, 1);
    Atomics.notify(this.#words, epochAt / 4);
    for (const worker of this.#workers) void worker.terminate();
  }
}

/** A worker that has its kernels and waits for work. It keeps no process alive. */
function start(data: ThreadData): Promise<Worker> {
  const worker = new Worker(join(import.meta.dirname, "worker.ts"), {
    workerData: data,
    name: `kernels ${data.thread}`,
  });
  worker.unref();
  return new Promise((resolve, reject) => {
    worker.once("error", reject);
    worker.once("message", () => {
      worker.off("error", reject);
      // Between steps; within one, worker.ts sees to it.
      worker.once("error", (error) => {
        throw new Error(`thread ${data.thread} of the kernels ended`, { cause: error });
      });
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
