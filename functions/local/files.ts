/** The files of a run's state folder that this code reads back. The databases in v3/ are Miniflare's. */
import { randomBytes } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "./failure.ts";

/** run.json: where a running whole is. Tools, tests and people read it; it goes when the run ends. */
export interface Run {
  url: string;
  dashboard: string;
  demoKey: string;
  adminKey: string;
  pids: { launcher: number; host: number; workerd: number };
  backends: { id: string; region: string; url: string; pid: number }[];
}

/** secrets.json: made once. A new KEY_SECRET_A would make every API key a stranger. */
export interface Secrets {
  ADMIN_KEY: string;
  KEY_SECRET_A: string;
  BACKEND_LOCAL_SECRET: string;
}

/** demo.json: the account that the banner's key belongs to. Its parts come one after another. */
export interface Demo {
  account: string;
  key?: { id: string; key: string };
}

export class Files {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
    try {
      mkdirSync(dir, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new Failure(`The state folder ${dir} cannot be made: ${(error as Error).message}.`);
    }
  }

  path(name: string): string {
    return join(this.#dir, name);
  }

  read<T>(name: string): T | undefined {
    let text: string;
    try {
      text = readFileSync(this.path(name), "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw new Failure(`${this.path(name)} cannot be read: ${(error as Error).message}.`);
    }
    try {
      return JSON.parse(text) as T;
    } catch {
      throw new Failure(`${this.path(name)} is not JSON. Delete it and start again.`);
    }
  }

  /** Whole or not at all, for this user's eyes only: a reader never sees half a file. */
  write(name: string, value: unknown): void {
    renameSync(this.#draft(name, value), this.path(name));
  }

  /** As write, but only where there is none yet. @returns whether it was made. */
  create(name: string, value: unknown): boolean {
    const draft = this.#draft(name, value);
    try {
      linkSync(draft, this.path(name));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
      throw error;
    } finally {
      rmSync(draft);
    }
  }

  #draft(name: string, value: unknown): string {
    const path = this.path(`${name}.${process.pid}`);
    writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 });
    return path;
  }

  remove(name: string): void {
    rmSync(this.path(name), { force: true });
  }

  secrets(): Secrets {
    const found = this.read<Secrets>("secrets.json");
    if (found !== undefined) return found;
    const secret = () => randomBytes(32).toString("base64url");
    const made: Secrets = {
      ADMIN_KEY: secret(),
      KEY_SECRET_A: secret(),
      BACKEND_LOCAL_SECRET: secret(),
    };
    this.write("secrets.json", made);
    return made;
  }
}
