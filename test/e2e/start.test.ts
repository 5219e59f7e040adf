/** `npm start`: what it prints works, what it starts ends with it, and what stops it is told in one line. */
import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { holderOf } from "../../functions/local/processes.ts";
import { allGone, failedRun, type Run, type RunOptions, startRun } from "../support/run.ts";

const repository = join(import.meta.dirname, "../..");
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A run that ends with its test, however that ends. */
async function started(options: RunOptions = {}): Promise<Run> {
  const run = await startRun(options);
  cleanups.push(() => run.stop());
  return run;
}

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "causeway-start-"));
  cleanups.push(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

describe("a start", () => {
  it("prints a curl line that streams an answer when it is pasted into a shell", async () => {
    const run = await started();
    const line = /^curl -N .*?'$/ms.exec(run.output())![0];
    const { stdout } = await promisify(execFile)("bash", ["-c", line]);
    const events = stdout.split("\n").filter((text) => text.startsWith("data: "));
    expect(events.at(-1)).toBe("data: [DONE]");
    const text = events
      .slice(0, -1)
      .map((event) => JSON.parse(event.slice(6)).choices[0]?.delta.content ?? "")
      .join("");
    expect(text).toMatch(/serverless edge inference platform/);
    expect(run.output()).toContain(run.demoKey);
  });

  it("keeps its key, its money and its models when it is started again", async () => {
    const dir = folder();
    const first = await startRun({ dir });
    const before = await balance(first);
    await ask(first);
    const after = await differentBalance(first, before);
    expect(await first.stop()).toBe(0);

    const second = await started({ dir });
    expect(second.demoKey).toBe(first.demoKey);
    expect(second.adminKey).toBe(first.adminKey);
    expect(await balance(second)).toBe(after);
    expect(await prices(second)).toHaveLength(1);
  });

  it("says in run.json where it is, for its user alone, until it ends", async () => {
    const dir = folder();
    const run = await startRun({ dir });
    expect(statSync(join(dir, "run.json")).mode & 0o777).toBe(0o600);
    expect(statSync(join(dir, "secrets.json")).mode & 0o777).toBe(0o600);
    expect(statSync(join(dir, "demo.json")).mode & 0o777).toBe(0o600);
    expect(run.refresh().backends.map(({ id, region }) => [id, region])).toEqual(
      expect.arrayContaining([
        ["bknd_us-east-1", "us-east"],
        ["bknd_eu-west-1", "eu-west"],
        ["bknd_ap-east-1", "ap-east"],
      ]),
    );
    for (const { url } of run.backends) expect((await fetch(`${url}/health`)).status).toBe(200);
    await run.stop();
    expect(existsSync(join(dir, "run.json"))).toBe(false);
  });

  it("runs without an engine of its own when it is told so", async () => {
    const run = await started({ engines: 0 });
    expect(run.backends).toEqual([]);
    expect((await fetch(`${run.url}/health`)).status).toBe(200);
  });
});

describe("the end of a run", () => {
  it.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("takes every child along on %s", async (signal) => {
    const run = await started({ engines: signal === "SIGHUP" ? 1 : 0 });
    const pids = run.allPids;
    expect(await run.stop(signal)).toBe(0);
    await allGone(pids, 1_000);
    expect(holderOf(portOf(run))).toBeUndefined();
  });

  it("takes every child along when the launcher is killed, and the next start needs no help", async () => {
    const dir = folder();
    const run = await startRun({ dir });
    await run.kill9Launcher();
    expect(holderOf(portOf(run))).toBeUndefined();

    const again = await started({ dir, port: portOf(run) });
    expect(again.url).toBe(run.url);
    expect(again.demoKey).toBe(run.demoKey);
  });

  it("leaves a workerd when launcher and host are killed at once, and the next start ends it", async () => {
    const dir = folder();
    const run = await startRun({ dir, engines: 0 });
    process.kill(run.pids.host, "SIGSTOP");
    process.kill(run.pids.launcher, "SIGKILL");
    process.kill(run.pids.host, "SIGKILL");
    await allGone([run.pids.launcher, run.pids.host], 5_000);
    expect(holderOf(portOf(run))?.pid).toBe(run.pids.workerd);

    const again = await started({ dir, port: portOf(run), engines: 0 });
    await allGone([run.pids.workerd], 1_000);
    expect(again.output()).toContain("processes that a killed run left, now ended: 1");
    expect((await fetch(`${again.url}/health`)).status).toBe(200);
  });
});

describe("a part that is killed", () => {
  it("comes back on the same port with the same state: workerd, its host, an engine", async () => {
    const run = await started();
    const { url, pids, demoKey } = run;
    const before = await balance(run);

    await run.kill9Workerd();
    expect(run.pids.workerd).not.toBe(pids.workerd);
    expect((await fetch(`${url}/health`)).status).toBe(200);
    expect(await balance(run)).toBe(before);

    const second = run.pids.workerd;
    await run.kill9Host();
    await allGone([second], 1_000);
    expect(await balance(run)).toBe(before);

    const engine = run.backends[0];
    await run.kill9Engine(engine.id);
    expect(run.backends[0].url).toBe(engine.url);
    await ask(run);
    await differentBalance(run, before);
    expect(run.refresh()).toMatchObject({ url, demoKey });
  });
});

describe("a start that cannot be", () => {
  it("names a taken port and who holds it", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    cleanups.push(() => server.close());
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    const { code, output } = await failedRun({ port });
    expect(code).toBe(1);
    expect(lastLine(output)).toMatch(
      new RegExp(`^Port ${port} on 127\\.0\\.0\\.1 is held by process ${process.pid} \\(node\\)\\.`),
    );
  });

  it("refuses a second run on the same state, and the first one goes on", async () => {
    const run = await started({ engines: 0 });
    const { code, output } = await failedRun({ dir: run.stateDir });
    expect(code).toBe(1);
    expect(output.trim()).toBe(
      `Causeway already runs on this state folder at ${run.url} (process ${run.pids.launcher}). ` +
        "Stop it first, or set CAUSEWAY_STATE_DIR.",
    );
    expect((await fetch(`${run.url}/health`)).status).toBe(200);
    expect(run.refresh().pids.launcher).toBe(run.pids.launcher);
  });

  it("tells of a missing model in one line, and leaves nothing running", async () => {
    const project = copyOfProject();
    rmSync(join(project, "engine/model"), { recursive: true });
    const dir = folder();
    const { code, output } = await failedRun({ project, dir });
    expect(code).toBe(1);
    expect(lastLine(output)).toContain("engine/model");
    expect(output).not.toContain("    at ");
    expect(existsSync(join(dir, "lock.json"))).toBe(false);
  });

  it("names a migration that fails, applies nothing of it, and applies it when it is mended", async () => {
    const project = copyOfProject();
    const migration = join(project, "migrations/d1/9999_broken.sql");
    writeFileSync(migration, "CREATE TABLE mended (id INTEGER);\nINSERT INTO nowhere VALUES (1);\n");
    const dir = folder();
    const { code, output } = await failedRun({ project, dir, engines: 0 });
    expect(code).toBe(1);
    expect(lastLine(output)).toMatch(/^Migration 9999_broken\.sql failed, .*no such table: nowhere/);
    expect(output).not.toContain("    at ");

    writeFileSync(migration, "CREATE TABLE mended (id INTEGER);\n");
    const run = await started({ project, dir, engines: 0 });
    expect(run.output()).toContain("applied 9999_broken.sql");
  });

  it("says what is wrong with an option or a variable", async () => {
    const wrong = async (env: Record<string, string>) =>
      (await failedRun({ dir: folder(), env })).output.trim();
    expect(await wrong({ PORT: "80a" })).toMatch(/^The port .* must be a whole number/);
    expect(await wrong({ CAUSEWAY_ENGINES: "-1" })).toMatch(/^CAUSEWAY_ENGINES must be/);
    expect(await wrong({ CAUSEWAY_VARS: "{" })).toMatch(/^CAUSEWAY_VARS must be/);
  });
});

/** What a start needs, in a folder where it can be broken. */
function copyOfProject(): string {
  const project = folder();
  for (const part of ["functions", "router", "migrations", "engine", "wrangler.toml", "package.json"]) {
    cpSync(join(repository, part), join(project, part), { recursive: true });
  }
  symlinkSync(join(repository, "node_modules"), join(project, "node_modules"));
  return project;
}

const portOf = (run: Run) => Number(new URL(run.url).port);
const lastLine = (output: string) => output.trim().split("\n").at(-1)!;

async function balance(run: Run): Promise<string> {
  const answer = await fetch(`${run.url}/v1/balance`, {
    headers: { authorization: `Bearer ${run.demoKey}` },
  });
  return ((await answer.json()) as { balance: string }).balance;
}

/** The balance when a request has been paid: it settles beside its answer. */
async function differentBalance(run: Run, before: string): Promise<string> {
  return await expect
    .poll(() => balance(run), { timeout: 10_000, interval: 50 })
    .not.toBe(before)
    .then(() => balance(run));
}

async function prices(run: Run): Promise<unknown[]> {
  const headers = { authorization: `Bearer ${run.adminKey}` };
  const answer = await fetch(`${run.url}/admin/prices`, { headers });
  return ((await answer.json()) as { data: unknown[] }).data;
}

async function ask(run: Run): Promise<void> {
  const headers = { authorization: `Bearer ${run.demoKey}`, "content-type": "application/json" };
  const messages = [{ role: "user", content: "What is Causeway?" }];
  const body = JSON.stringify({ model: "causeway-probe", messages, max_tokens: 8 });
  const answer = await fetch(`${run.url}/v1/chat/completions`, { method: "POST", headers, body });
  expect(answer.status, await answer.text()).toBe(200);
}
