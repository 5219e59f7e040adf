import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { kernelModule } from "../kernels/build.ts";
import { CommandWriter } from "../kernels/command-writer.ts";
import { commandAdd, commandMatmul, formatF32 } from "../kernels/constants.ts";
import { KernelMemory } from "../kernels/memory.ts";
import { Module } from "../kernels/webassembly.ts";
import { ThreadPool } from "./pool.ts";

const open: ThreadPool[] = [];

async function openPool(threads: number): Promise<{ pool: ThreadPool; memory: KernelMemory }> {
  const memory = new KernelMemory(threads);
  const pool = await ThreadPool.open(new Module(await kernelModule("fma")), memory.memory, threads);
  open.push(pool);
  return { pool, memory };
}

afterEach(() => {
  for (const pool of open.splice(0)) pool.close();
});

describe.each([2, 3])("%i threads", (threads) => {
  it("do thousands of commands, none before the one before it is done in all its pieces", async () => {
    const { pool, memory } = await openPool(threads);
    const command = new CommandWriter(memory.memory.buffer);
    const [length, rows, columns] = [3 * 16_384, 1024, 16]; // several pieces each
    const [sum, ones] = [
      memory.floats(memory.allocate(length * 4), length),
      memory.floats(memory.allocate(length * 4), length),
    ];
    const [weights, product] = [
      memory.floats(memory.allocate(rows * columns * 4), rows * columns),
      memory.floats(memory.allocate(rows * 4), rows),
    ];
    ones.fill(1);
    weights.fill(1);
    for (let i = 1; i <= 3000; i++) {
      command.write(commandAdd, [sum.byteOffset, ones.byteOffset, length]);
      pool.run(true);
      // Another command in the same place, which a thread that is late must not take for the one before.
      const words = [formatF32, weights.byteOffset, rows, columns, 1, sum.byteOffset, product.byteOffset, 0];
      command.write(commandMatmul, words);
      pool.run(true);
      // Two looks, not a comparison of all: what one thread left out would be missing for ever.
      if (sum[length - 1] !== i || product[rows - 1] !== 16 * i) throw new Error(`wrong after command ${i}`);
    }
    expect(sum.every((value) => value === 3000)).toBe(true);
    expect(product.every((value) => value === 48_000)).toBe(true);
  });

  it("sleep when there is nothing to do, and wake for the next command", async () => {
    const { pool, memory } = await openPool(threads);
    const command = new CommandWriter(memory.memory.buffer);
    const values = memory.floats(memory.allocate(4096), 1024).fill(1);
    for (let i = 0; i < 3; i++) {
      while (pool.sleeping < threads - 1) await new Promise((resolve) => setImmediate(resolve));
      command.write(commandAdd, [values.byteOffset, values.byteOffset, 1024]);
      pool.run(true);
    }
    expect([...new Set(values)]).toEqual([8]);
  });
});

it("one thread starts no other", async () => {
  const before = process.getActiveResourcesInfo().filter((name) => /Worker|MessagePort/.test(name)).length;
  await openPool(1);
  const after = process.getActiveResourcesInfo().filter((name) => /Worker|MessagePort/.test(name)).length;
  expect(after).toBe(before);
});

/** Runs a script of this folder in a process of its own. */
function runScript(script: string): { status: number | null; stderr: string } {
  const args = ["--input-type=module-typescript", "--eval", script];
  const { status, stderr } = spawnSync(process.execPath, args, {
    cwd: import.meta.dirname,
    encoding: "utf8",
    timeout: 60_000,
  });
  return { status, stderr };
}

const kernels = join(import.meta.dirname, "../kernels");
const header = `
  import { kernelModule } from "${kernels}/build.ts";
  import { claimAt, commandGather } from "${kernels}/constants.ts";
  import { KernelMemory } from "${kernels}/memory.ts";
  import { CommandWriter } from "${kernels}/command-writer.ts";
  import { Module } from "${kernels}/webassembly.ts";
  import { ThreadPool } from "${import.meta.dirname}/pool.ts";
  const memory = new KernelMemory(2);
  const pool = await ThreadPool.open(new Module(await kernelModule("fma")), memory.memory, 2);
  const command = new CommandWriter(memory.memory.buffer);
  const at = memory.allocate(4096);
  const ids = new Int32Array(memory.memory.buffer, at, 2);
`;

describe("a process whose kernels", () => {
  /** Gathers a row that lies far outside of memory. */
  const wrong = `${header}
    ids[0] = 0x08000000;
    command.write(commandGather, [at, at, 4, 0, at, 1]);
  `;

  it("fail in its own thread ends with a line that says so", () => {
    const { status, stderr } = runScript(`${wrong} pool.run(false); console.error("went on");`);
    expect(stderr).toMatch(/^engine: the kernels failed, so this process ends: RuntimeError/);
    expect(stderr).not.toContain("went on");
    expect(status).toBe(1);
  });

  it("fail in another thread ends with a line that says so", () => {
    // One piece of generation 1, which the calling thread leaves to the other.
    const offer = `
      const claim = new BigInt64Array(memory.memory.buffer, claimAt, 1);
      Atomics.store(claim, 0, (1n << 32n) | (1n << 16n));
      Atomics.notify(claim, 0);
      setTimeout(() => console.error("went on"), 30_000);
    `;
    const { status, stderr } = runScript(wrong + offer);
    expect(stderr).toMatch(/^engine: thread 1 failed: RuntimeError/);
    expect(stderr).not.toContain("went on");
    expect(status).toBe(1);
  });

  it("have nothing to do ends when its own work does", () => {
    expect(runScript(header)).toEqual({ status: 0, stderr: "" });
  });
});
