/**
 * The whole for a test: what `npm start` runs, on ports and in a state folder of its own, so that many can run at
 * once. It ends with the test's process, whatever ends that.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Run as RunFile, Secrets } from "../../functions/local/files.ts";
import { identify, isGone } from "../../functions/local/processes.ts";

export interface RunOptions {
  /** The state folder, to start on what an earlier run left. Without it: a new one, which goes when a run on it is stopped. */
  readonly dir?: string;
  /** 0, which is the default, takes any free one. */
  readonly port?: number;
  /** 0: no embedded engine and no backend; the test registers its own. */
  readonly engines?: number;
  /** Replaces [vars] of wrangler.toml, by name. */
  readonly vars?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  /** The folder of the project: a copy in which something is broken. */
  readonly project?: string;
}

const repository = join(import.meta.dirname, "../..");
const readyWithinMs = 60_000;
const lastWords = "Stop with Ctrl-C.";
/** State folders that were made here. The first orderly stop of a run takes its folder away. */
const made = new Set<string>();

/** Starts a run and waits until it is ready. @throws with its output when it ends instead. */
export async function startRun(options: RunOptions = {}): Promise<Run> {
  const launched = launch(options);
  const { child, output } = launched;
  const run = await new Promise<RunFile>((resolve, reject) => {
    const late = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`The run was not ready within ${readyWithinMs / 1000} s:\n${output()}`));
    }, readyWithinMs);
    child.once("message", async ({ run }: { run: RunFile }) => {
      // The channel may be quicker than the pipe: what a start prints belongs to it.
      while (!output().includes(lastWords)) await once(child.stdout!, "data");
      clearTimeout(late);
      child.off("close", failed);
      resolve(run);
    });
    const failed = (code: number | null, signal: NodeJS.Signals | null) => {
      clearTimeout(late);
      if (options.dir === undefined) launched.cleanUp();
      reject(new Error(`The run ended while it started (${signal ?? code}):\n${output()}`));
    };
    child.once("close", failed);
  });
  return new Run(launched, run);
}

/** A start that is expected to fail: how it ended and what it said. */
export async function failedRun(options: RunOptions): Promise<{ code: number | null; output: string }> {
  const { child, output, cleanUp } = launch(options);
  const [code] = (await once(child, "close")) as [number | null];
  if (options.dir === undefined) cleanUp();
  return { code, output: output() };
}

export class Run implements RunFile {
  url!: string;
  dashboard!: string;
  demoKey!: string;
  adminKey!: string;
  pids!: RunFile["pids"];
  backends!: RunFile["backends"];
  /** The bearer of its embedded engines: BACKEND_LOCAL_SECRET. */
  readonly backendSecret: string;
  readonly stateDir: string;
  /** What it has printed, on stdout and stderr. */
  readonly output: () => string;
  readonly #child: ChildProcess;
  readonly #cleanUp: () => void;

  constructor({ child, output, stateDir, cleanUp }: Launched, run: RunFile) {
    this.stateDir = stateDir;
    this.output = output;
    const secrets = JSON.parse(readFileSync(join(stateDir, "secrets.json"), "utf8")) as Secrets;
    this.backendSecret = secrets.BACKEND_LOCAL_SECRET;
    this.#child = child;
    this.#cleanUp = cleanUp;
    Object.assign(this, run);
    child.on("message", (message: { run: RunFile }) => Object.assign(this, message.run));
  }

  /** Reads run.json again: processes that were started again have new numbers. */
  refresh(): this {
    return Object.assign(this, JSON.parse(readFileSync(join(this.stateDir, "run.json"), "utf8")) as RunFile);
  }

  /** The launcher, the host, workerd and the engines. */
  get allPids(): number[] {
    return [...Object.values(this.pids), ...this.backends.map(({ pid }) => pid)];
  }

  /** The orderly way. @returns the launcher's exit code when all has ended. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    const code = await this.#end(signal);
    this.#cleanUp();
    return code;
  }

  /** @returns when every process of the run is gone. The state folder stays, also one that the run made. */
  async kill9Launcher(): Promise<void> {
    const pids = this.allPids;
    await this.#end("SIGKILL");
    await allGone(pids, 10_000);
  }

  /** @returns when the edge answers again. */
  async kill9Workerd(): Promise<void> {
    const again = this.#changed((run) => run.pids.workerd !== killed);
    const killed = this.pids.workerd;
    process.kill(killed, "SIGKILL");
    await again;
  }

  /** @returns when there is a new host with a new workerd, and the edge answers again. */
  async kill9Host(): Promise<void> {
    const again = this.#changed((run) => run.pids.host !== killed);
    const killed = this.pids.host;
    process.kill(killed, "SIGKILL");
    await again;
  }

  /** @returns when the engine is up again. */
  async kill9Engine(id: string): Promise<void> {
    const pidOf = (run: RunFile) => run.backends.find((backend) => backend.id === id)!.pid;
    const again = this.#changed((run) => pidOf(run) !== killed);
    const killed = pidOf(this);
    process.kill(killed, "SIGKILL");
    await again;
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) return exitCode;
    const closed = once(this.#child, "close") as Promise<[number | null]>;
    this.#child.kill(signal);
    return (await closed)[0];
  }

  /** The launcher tells of every change of run.json. */
  #changed(isIt: (run: RunFile) => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        this.#child.off("message", look);
        reject(new Error(`The run did not recover within 30 s:\n${this.output()}`));
      }, 30_000);
      const look = ({ run }: { run: RunFile }) => {
        if (!isIt(run)) return;
        clearTimeout(late);
        this.#child.off("message", look);
        resolve();
      };
      this.#child.on("message", look);
    });
  }
}

/** Waits until none of the processes is left. */
export async function allGone(pids: readonly number[], withinMs: number): Promise<void> {
  const there = pids.flatMap((pid) => identify(pid, "") ?? []);
  const deadline = Date.now() + withinMs;
  for (;;) {
    const left = there.filter((process) => !isGone(process));
    if (left.length === 0) return;
    if (Date.now() > deadline) {
      throw new Error(`These are left after ${withinMs} ms: ${left.map(({ pid }) => pid).join(", ")}`);
    }
    await delay(20);
  }
}

interface Launched {
  readonly child: ChildProcess;
  readonly stateDir: string;
  readonly output: () => string;
  readonly cleanUp: () => void;
}

function launch({ dir, port = 0, engines, vars, env, project = repository }: RunOptions): Launched {
  const stateDir = dir ?? mkdtempSync(join(tmpdir(), "causeway-"));
  if (dir === undefined) made.add(stateDir);
  const child = fork(join(project, "functions/local/start.ts"), {
    execArgv: [],
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    env: {
      ...withoutVitest(process.env),
      CAUSEWAY_STATE_DIR: stateDir,
      PORT: String(port),
      NO_COLOR: "1",
      ...(engines === undefined ? {} : { CAUSEWAY_ENGINES: String(engines) }),
      ...(vars === undefined ? {} : { CAUSEWAY_VARS: JSON.stringify(vars) }),
      ...env,
    },
  });
  let text = "";
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
  }
  return {
    child,
    stateDir,
    output: () => text,
    cleanUp: () => {
      if (made.delete(stateDir)) rmSync(stateDir, { recursive: true, force: true });
    },
  };
}

/** A run knows nothing of the test that starts it. */
function withoutVitest(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(
      ([name]) => !/^(VITEST|NODE_OPTIONS$|NODE_ENV$|CAUSEWAY_|FORCE_COLOR$)/.test(name),
    ),
  );
}
