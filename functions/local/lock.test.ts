import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Files } from "./files.ts";
import { Lock } from "./lock.ts";
import { type Identity, identify, isAlive } from "./processes.ts";

let dir: string;
let sleeper: ChildProcess;
let known: Identity;
const gone: Identity = { pid: 2 ** 22 - 1, started: "1", command: "start.ts" };

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "causeway-lock-"));
  sleeper = spawn(process.execPath, ["-e", "setInterval(() => {}, 1e6)", "a-part-of-a-run"]);
  await once(sleeper, "spawn");
  known = identify(sleeper.pid!, "a-part-of-a-run")!;
});
afterEach(() => {
  sleeper.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

function lockFile(launcher: Identity, children: Identity[]): void {
  writeFileSync(join(dir, "lock.json"), JSON.stringify({ launcher, children }));
}

it("ends what a killed run left", async () => {
  lockFile(gone, [known]);
  const lock = await Lock.take(new Files(dir));
  expect(lock.left).toBe(1);
  expect(isAlive(known)).toBe(false);
});

it("leaves a process alone that has the number of one of the killed run, and started at another time", async () => {
  lockFile(gone, [{ ...known, started: `${Number(known.started) - 1}` }]);
  const lock = await Lock.take(new Files(dir));
  expect(lock.left).toBe(0);
  expect(isAlive(known)).toBe(true);
});

it("leaves a process alone that has the number of one of the killed run, and is another program", async () => {
  lockFile(gone, [{ ...known, command: "workerd" }]);
  const lock = await Lock.take(new Files(dir));
  expect(lock.left).toBe(0);
  expect(isAlive(known)).toBe(true);
});

it("refuses while the run that has the folder lives, and touches none of it", async () => {
  lockFile(known, [known]);
  await expect(Lock.take(new Files(dir))).rejects.toThrow(
    `already runs on this state folder (process ${known.pid})`,
  );
  expect(isAlive(known)).toBe(true);
});
