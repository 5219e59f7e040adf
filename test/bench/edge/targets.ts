/** Who carries the requests of the edge benchmark: all before the same upstream, each a process of its own. */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from "miniflare";
import { freePort } from "../../../functions/local/ports.ts";
import { admin, newAccount, TEST_BACKEND_SECRET } from "../../support/platform.ts";
import { type Run, startRun } from "../../support/run.ts";
import { peersFolder } from "../peers.ts";
import type { Target } from "./load.ts";

export interface Upstream {
  readonly url: string;
  readonly child: ChildProcess;
}

export async function startUpstream(): Promise<Upstream> {
  const child = fork(join(import.meta.dirname, "upstream.ts"), { execArgv: [] });
  const [port] = (await once(child, "message")) as [number];
  return { url: `http://127.0.0.1:${port}`, child };
}

/** The floor: a Worker that forwards and does nothing else, in the same workerd behind the same kind of socket. */
export async function startPassThrough(
  upstream: string,
): Promise<{ target: Target; stop: () => Promise<void> }> {
  const script = `export default {
    fetch(request) {
      const { pathname } = new URL(request.url);
      return fetch(new Request(${JSON.stringify(upstream)} + pathname, request));
    },
  };`;
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      name: "pass-through",
      modules: [{ type: "ESModule", path: "pass-through.js", contents: script }],
      modulesRoot: ".",
      compatibilityDate: "2026-11-01",
      unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
      host: "127.0.0.1",
      port: 0,
      cf: false,
      log: new Log(LogLevel.WARN),
    }),
  );
  await miniflare.ready;
  const { origin } = await miniflare.unsafeGetDirectURL();
  const target = { name: "pass-through Worker", url: origin, headers: {}, model: "bench-relay" };
  return { target, stop: () => miniflare.dispose() };
}

/** Portkey's gateway on Node, as its package starts it. It authenticates nobody and counts nothing. */
export async function startPortkey(upstream: string): Promise<{ target: Target; stop: () => Promise<void> }> {
  const port = await freePort(0);
  const server = join(peersFolder, "node_modules/@portkey-ai/gateway/build/start-server.js");
  const child = spawn(process.execPath, [server, `--port=${port}`, "--headless"], {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, NODE_ENV: "production" },
  });
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries++) {
    const up = await fetch(url).then(
      (answer) => answer.ok,
      () => false,
    );
    if (up) break;
    if (tries > 100 || child.exitCode !== null) throw new Error("Portkey's gateway did not start.");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const headers = {
    authorization: "Bearer bench",
    "x-portkey-provider": "openai",
    "x-portkey-custom-host": `${upstream}/v1`,
  };
  const stop = async () => {
    child.kill();
    await once(child, "close");
  };
  return { target: { name: "Portkey on Node", url, headers, model: "bench-relay" }, stop };
}

/** What `npm start` runs, with the upstream as its backend twice: once relayed, once on the reading path. */
export async function startCauseway(
  upstream: string,
): Promise<{ run: Run; relay: Target; reading: Target; stop: () => Promise<unknown> }> {
  const run = await startRun({ engines: 0, vars: { BACKEND_TEST_SECRET: TEST_BACKEND_SECRET } });
  await admin(run, "PUT", "/regions/us-east", { name: "US East", zone: "enam", simulated_distance_ms: 0 });
  for (const [model, kind] of [
    ["bench-relay", "causeway"],
    ["bench-reading", "openai"],
  ] as const) {
    await admin(run, "PUT", `/models/${model}`, {
      name: model,
      description: "The upstream of the benchmark.",
      owned_by: "bench",
      context_length: 4_096,
      default_max_output_tokens: 512,
    });
    await admin(run, "POST", "/prices", { model, input: "2", cached_input: "0.5", output: "10" });
    await admin(run, "PUT", `/backends/bknd_${model}`, {
      name: model,
      region: "us-east",
      model,
      served_as: model,
      kind,
      chip: "cpu",
      url: upstream,
      secret_name: "BACKEND_TEST_SECRET",
      state: "active",
    });
  }
  const account = await newAccount(run, "1000");
  const headers = { authorization: `Bearer ${account.key}` };
  const target = (model: string, name: string) => ({ name, url: run.url, headers, model });
  return {
    run,
    relay: target("bench-relay", "Causeway, relay"),
    reading: target("bench-reading", "Causeway, reading"),
    stop: () => run.stop(),
  };
}
