/** Runs what README.md tells people to run: a command that is printed there works as it stands there. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Run } from "../../functions/local/files.ts";
import { freePort } from "../../functions/local/ports.ts";
import { eventually } from "../support/platform.ts";

const project = join(import.meta.dirname, "../..");
const readme = readFileSync(join(project, "README.md"), "utf8");
const blocks = [...readme.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, kind, text]) => ({
  kind,
  text: text!,
}));
const all = (kind: string) => blocks.filter((block) => block.kind === kind).map(({ text }) => text);

let start: ChildProcess;
let run: Run;
let stateDir: string;

/** The README's own way, on a port and in a state folder of the test. */
beforeAll(async () => {
  const [command] = /^npm start -- --port 8790/m.exec(readme.replaceAll("`", "\n")) ?? [];
  expect(command, "README says how to take another port").toBeDefined();
  stateDir = mkdtempSync(join(tmpdir(), "causeway-readme-"));
  const port = await freePort(0);
  start = spawn("bash", ["-c", `exec ${command!.replace("8790", String(port))}`], {
    cwd: project,
    detached: true, // Ctrl-C in a terminal reaches the whole group.
    stdio: "ignore",
    env: { ...process.env, CAUSEWAY_STATE_DIR: stateDir },
  });
  const file = join(stateDir, "run.json");
  run = await eventually(
    async () => {
      const found = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Run) : undefined;
      return found?.demoKey ? found : undefined;
    },
    "npm start to be ready",
    90_000,
  );
});
afterAll(async () => {
  if (start?.pid === undefined) return;
  const closed = once(start, "close");
  process.kill(-start.pid, "SIGINT");
  await closed;
  await eventually(async () => (existsSync(join(stateDir, "run.json")) ? undefined : true), "the run to end");
  rmSync(stateDir, { recursive: true, force: true });
});

const here = (text: string) =>
  text.replaceAll("http://127.0.0.1:8787", run.url).replaceAll(/cw_live_\.\.\./g, run.demoKey);

async function shell(script: string, env: Record<string, string> = {}): Promise<string> {
  const { stdout } = await promisify(execFile)("bash", ["-eo", "pipefail", "-c", script], {
    cwd: project,
    env: { ...process.env, ...env },
  });
  return stdout;
}

/** Lines that begin with `$ `, each with those that a backslash joins to it. */
const typed = (text: string) => [...text.matchAll(/^\$ ((?:.*\\\n)*.*)$/gm)].map(([, command]) => command!);

it("names the two commands, and both are scripts", () => {
  const { scripts } = JSON.parse(readFileSync(join(project, "package.json"), "utf8")) as {
    scripts: Record<string, string>;
  };
  const named = all("sh").flatMap((text) =>
    [...text.matchAll(/npm (start|test)\b/g)].map(([, name]) => name!),
  );
  expect(named.sort()).toEqual(["start", "test"]);
  for (const name of named) expect(scripts[name]).toBeDefined();
  for (const [, name] of readme.matchAll(/`npm run ([\w:]+)`/g)) expect(scripts[name!], name).toBeDefined();
});

describe("a transcript", () => {
  const commands = all("console").flatMap(typed);

  it("is there", () => expect(commands.length).toBeGreaterThanOrEqual(4));

  for (const command of commands)
    it(`answers: ${command.split("\n")[0]!.slice(0, 70)}`, async () => {
      const output = await shell(here(command));
      if (command.includes("-D -")) {
        for (const [name] of readme.matchAll(/^x-causeway-[\w-]+(?=:)/gm))
          expect(output).toMatch(new RegExp(`^${name}: .`, "m"));
        return;
      }
      const answer = JSON.parse(output) as { error?: unknown; object: string };
      expect(answer.error).toBeUndefined();
      expect(answer.object).toMatch(/^(chat\.completion|usage|list)$/);
    });
});

it("has a program for the official client that streams an answer", async () => {
  const [program] = all("ts");
  const folder = join(project, ".causeway");
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `readme-${process.pid}.ts`);
  writeFileSync(file, here(program!));
  try {
    expect(await shell(`node ${file}`, { CAUSEWAY_KEY: run.demoKey })).toMatch(/\w+ \w+/);
  } finally {
    rmSync(file);
  }
});

it("operates it: accounts, credits, keys, the audit, and a vLLM backend", async () => {
  const lines = all("sh")
    .flatMap((text) => text.split("\n"))
    .filter((line) => /^admin\b/.test(line));
  const [definition, ...commands] = lines;
  expect(commands.length).toBeGreaterThan(7);
  let account = "";
  for (const command of commands) {
    const text = command.replace(/\s+# .*$/, "").replace("acct_...", account);
    const output = await shell(`${here(definition!)}\n${text}`, { ADMIN_KEY: run.adminKey });
    const answer = JSON.parse(output) as { error?: unknown; id?: string };
    expect(answer.error, text).toBeUndefined();
    if (answer.id?.startsWith("acct_")) account = answer.id;
  }
});

describe("the deployment", () => {
  const commands = all("sh")
    .flatMap((text) => text.split("\n"))
    .map((line) => line.replace(/\s+# .*$/, ""))
    .flatMap((line) => line.split(" && "))
    .filter((line) => line.startsWith("npx wrangler"));

  it("is there", () => expect(commands.length).toBeGreaterThan(5));

  for (const command of commands)
    it(`has a command that wrangler knows: ${command}`, async () => {
      // What needs an account is asked for its help: a subcommand or an option that is not there has none.
      const words = command.split(" ").slice(1);
      const dry = words[1] === "deploy" ? [...words, "--dry-run"] : [...words, "--help"];
      const output = await shell(dry.join(" "), { WRANGLER_SEND_METRICS: "false", CI: "true" });
      expect(output).toMatch(dry.at(-1) === "--help" ? /GLOBAL FLAGS/ : /--dry-run: exiting now/);
    });
});
