/**
 * One run for a state folder. lock.json names every process of the run that is up: the next start ends what a
 * killed run left, and refuses while the run lives.
 */
import { Failure } from "./failure.ts";
import type { Files } from "./files.ts";
import { end, type Identity, identify, isAlive } from "./processes.ts";

interface Content {
  launcher: Identity | { pid: number };
  children: Identity[];
}

export class Lock {
  readonly #files: Files;
  readonly #launcher: Content["launcher"];
  readonly #children = new Map<string, Identity[]>();
  /** How many processes a killed run had left. They are ended. */
  readonly left: number;

  private constructor(files: Files, launcher: Content["launcher"], left: number) {
    this.#files = files;
    this.#launcher = launcher;
    this.left = left;
  }

  /** @throws Failure while another run has this folder. */
  static async take(files: Files): Promise<Lock> {
    const launcher = identify(process.pid, "start.ts") ?? { pid: process.pid };
    const found = files.read<Content>("lock.json");
    let left = 0;
    if (found !== undefined) {
      if ("started" in found.launcher && isAlive(found.launcher)) refuse(files, found.launcher.pid);
      // The host first, or it would start its workerd again.
      left = (await end(found.children)).length;
      files.remove("run.json");
      files.remove("lock.json");
    }
    const made = files.create("lock.json", { launcher, children: [] } satisfies Content);
    // Another start was quicker.
    if (!made) refuse(files, files.read<Content>("lock.json")?.launcher.pid);
    return new Lock(files, launcher, left);
  }

  /** What one part of the run consists of now. */
  record(part: string, processes: readonly { pid: number; command: string }[]): void {
    const known = processes.flatMap(({ pid, command }) => identify(pid, command) ?? []);
    this.#children.set(part, known);
    this.#files.write("lock.json", {
      launcher: this.#launcher,
      children: [...this.#children.values()].flat(),
    });
  }

  release(): void {
    this.#files.remove("run.json");
    this.#files.remove("lock.json");
  }
}

function refuse(files: Files, pid: number | undefined): never {
  const url = files.read<{ url: string }>("run.json")?.url;
  const where = url === undefined ? "" : ` at ${url}`;
  throw new Failure(
    `Causeway already runs on this state folder${where} (process ${pid}). Stop it first, or set CAUSEWAY_STATE_DIR.`,
  );
}
