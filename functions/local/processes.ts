/** What /proc says about processes. Where there is no /proc, nothing is known and nothing is ended. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** A process that cannot be mistaken for a later one with the same number. */
export interface Identity {
  readonly pid: number;
  /** Clock ticks from the machine's start to the process's. */
  readonly started: string;
  /** A part of its command line. */
  readonly command: string;
}

export function identify(pid: number, command: string): Identity | undefined {
  const found = stat(pid);
  return found === undefined ? undefined : { pid, started: found.started, command };
}

export function isAlive({ pid, started, command }: Identity): boolean {
  const found = stat(pid);
  return found?.started === started && !found.ended && commandLine(pid).includes(command);
}

/** Ends processes at once and waits until they are gone. Returns those that were there. */
export async function end(processes: readonly Identity[]): Promise<readonly Identity[]> {
  const there = processes.filter(isAlive);
  for (const { pid } of there) kill(pid);
  const deadline = Date.now() + 5_000;
  while (!there.every(isGone) && Date.now() < deadline) await delay(10);
  return there;
}

/**
 * Whether it holds nothing any more, ports above all. A killed process loses its command line first, then its
 * main thread, and its files only with its last thread.
 */
export function isGone({ pid, started }: Pick<Identity, "pid" | "started">): boolean {
  const found = stat(pid);
  if (found === undefined || found.started !== started) return true;
  return found.ended && entries(`/proc/${pid}/task`).length <= 1;
}

/** SIGKILL to a process, or with a negative number to its group. One that is gone already is no error. */
export function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

export function childrenOf(parent: number, command: string): number[] {
  return pids().filter((pid) => {
    const found = stat(pid);
    return found?.parent === parent && !found.ended && commandLine(pid).includes(command);
  });
}

/** Who listens on a TCP port of this machine, as far as this user may see it. */
export function holderOf(port: number): { pid: number; name: string } | undefined {
  const sockets = new Set(listening(port).map((inode) => `socket:[${inode}]`));
  if (sockets.size === 0) return undefined;
  for (const pid of pids()) {
    const links = entries(`/proc/${pid}/fd`).map((fd) => link(`/proc/${pid}/fd/${fd}`));
    if (links.some((target) => sockets.has(target))) {
      return { pid, name: nameOf(pid) };
    }
  }
  return undefined;
}

// Columns of /proc/net/tcp: slot, local address:port in hex, remote, state (0A is LISTEN), ..., inode at 9.
function listening(port: number): string[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return ["/proc/net/tcp", "/proc/net/tcp6"]
    .flatMap((path) => text(path).split("\n").slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter((columns) => columns[1]?.endsWith(suffix) && columns[3] === "0A")
    .map((columns) => columns[9] ?? "");
}

/** /proc/PID/stat, proc_pid_stat(5): fields 3 (state), 4 (parent) and 22 (start). */
function stat(pid: number): { ended: boolean; parent: number; started: string } | undefined {
  const line = text(`/proc/${pid}/stat`);
  // Field 2 is the name in brackets, which may hold spaces and brackets itself.
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const [state, parent, started] = [fields[0], fields[1], fields[19]];
  if (state === undefined || parent === undefined || started === undefined) return undefined;
  // Z is a zombie: ended, and nobody has asked how.
  return { ended: state === "Z" || state === "X", parent: Number(parent), started };
}

/** The program it runs. Node calls its main thread "MainThread", so comm would say nothing. */
function nameOf(pid: number): string {
  const [program = ""] = text(`/proc/${pid}/cmdline`).split("\0");
  return basename(program) || text(`/proc/${pid}/comm`).trim();
}

function commandLine(pid: number): string {
  return text(`/proc/${pid}/cmdline`).replaceAll("\0", " ");
}

function pids(): number[] {
  return entries("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

// Processes end while they are read, and some belong to others: what cannot be read is not there.
function entries(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
