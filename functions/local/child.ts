/**
 * A child process that is kept alive: when it dies it is started again, after a pause that grows. It leads a
 * process group of its own, so that Ctrl-C in a terminal reaches the launcher alone, and so that whatever it
 * leaves behind can be ended with it. Children end by themselves when their IPC channel closes: that is how they
 * end when the launcher is killed.
 *
 * What a child owes: a message `{ ready: true, ... }` when it works; where it cannot start, one line on stderr
 * and a non-zero exit code.
 */
import { type ChildProcess, fork } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { Failure } from "./failure.ts";
import { kill } from "./processes.ts";
import { project } from "./settings.ts";

export interface Kind<Ready> {
  /** As the output calls it. */
  readonly name: string;
  readonly module: string;
  readonly args?: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Sent to it first: what no other process should read in its arguments. */
  readonly hello?: () => object;
  readonly startWithinMs: number;
  /** At each start, and each time that it says so again. */
  readonly onReady: (ready: Ready, pid: number) => void;
  readonly onProgress?: (line: string) => void;
  /** What it writes on stderr, and what becomes of it. */
  readonly log: (line: string) => void;
}

const firstPauseMs = 200;
const longestPauseMs = 10_000;
/** A child that lived this long starts again with the first pause. */
const steadyMs = 30_000;
const stopWithinMs = 3_000;

export class Child<Ready extends object> {
  readonly #kind: Kind<Ready>;
  readonly #stop = new AbortController();
  #process: ChildProcess | undefined;
  #pauseMs = firstPauseMs;

  constructor(kind: Kind<Ready>) {
    this.#kind = kind;
  }

  /** @throws Failure with the child's own line, when it does not come up this first time. */
  async start(): Promise<Ready> {
    const ready = await this.#launch();
    void this.#keep();
    return ready;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    const child = this.#process;
    if (child?.pid === undefined || hasEnded(child)) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    if (child.connected) child.disconnect();
    await Promise.race([ended, delay(stopWithinMs, undefined, { ref: false })]);
    kill(-child.pid);
    await ended;
  }

  async #keep(): Promise<void> {
    const { name, log } = this.#kind;
    while (!this.#stop.signal.aborted) {
      const since = Date.now();
      const child = this.#process;
      const how = child === undefined || hasEnded(child) ? "" : await ending(child);
      if (this.#stop.signal.aborted) return;
      if (Date.now() - since > steadyMs) this.#pauseMs = firstPauseMs;
      if (how !== "") log(`${name} ended (${how}) and is started again.`);
      try {
        await delay(this.#pauseMs, undefined, { signal: this.#stop.signal });
        this.#pauseMs = Math.min(2 * this.#pauseMs, longestPauseMs);
        await this.#launch();
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        log(`${(error as Error).message} The next try is in ${this.#pauseMs / 1000} s.`);
      }
    }
  }

  #launch(): Promise<Ready> {
    if (this.#stop.signal.aborted) return Promise.reject(new Failure("The run is being stopped."));
    const { name, module, args = [], env, hello, startWithinMs, onReady, onProgress, log } = this.#kind;
    const child = fork(module, args, {
      detached: true,
      cwd: project,
      execArgv: [],
      env: { ...process.env, ...env },
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    this.#process = child;
    if (hello !== undefined) child.send(hello());

    // While it starts, its last line waits: it is the reason, should the start fail.
    let last: string | undefined;
    let starting = true;
    createInterface({ input: child.stderr! }).on("line", (text) => {
      if (last !== undefined) log(last);
      last = text;
      if (!starting) flush();
    });
    const flush = () => {
      if (last !== undefined) log(last);
      last = undefined;
    };

    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        reject(new Failure(`${name} was not ready within ${startWithinMs / 1000} s.`));
        kill(-child.pid!);
      }, startWithinMs);
      child.on("message", (message: { ready?: boolean; progress?: string }) => {
        if (message.progress !== undefined) onProgress?.(message.progress);
        if (message.ready !== true) return;
        clearTimeout(late);
        flush();
        try {
          onReady(message as Ready, child.pid!);
          resolve(message as Ready);
        } catch (error) {
          if (!starting) throw error;
          reject(error as Error);
        } finally {
          starting = false;
        }
      });
      child.once("error", (error) => {
        clearTimeout(late);
        reject(new Failure(`${name} cannot be started: ${error.message}.`));
      });
      child.once("exit", () => {
        clearTimeout(late);
        // A host that was killed leaves its workerd, which would keep the port.
        kill(-child.pid!);
      });
      child.once("close", (code, signal) => {
        const reason = isReason(last) ? last : undefined;
        if (reason === undefined) flush();
        reject(new Failure(reason ?? `${name} ended while it started (${signal ?? `exit code ${code}`}).`));
      });
    });
  }
}

/** Not the end of a stack trace: that is a bug, and all of it is shown. */
function isReason(line: string | undefined): line is string {
  return line !== undefined && !/^ {4}at |^Node\.js v|^$/.test(line);
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** @returns how it ended, when it ends. */
function ending(child: ChildProcess): Promise<string> {
  return new Promise((resolve) =>
    child.once("exit", (code, signal) => resolve(signal ?? `exit code ${code}`)),
  );
}
