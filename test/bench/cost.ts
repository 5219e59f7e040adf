/**
 * What a million requests cost in the platform's primitives: calls, rows and operations counted in a local run at a
 * given rate, times list prices, beside the aim. CPU and the objects' time are assumptions, since local figures are
 * no guide to the platform's.
 *
 *   node test/bench/cost.ts [requests] [requests a second]
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import type { HostReady, HostSettings } from "../../functions/local/host.ts";
import { admin, newAccount, TEST_BACKEND_SECRET } from "../support/platform.ts";
import type { Counters } from "./cost/worker.ts";
import { ask, type Target } from "./edge/load.ts";
import { startUpstream } from "./edge/targets.ts";

const REQUESTS = Number(process.argv[2] ?? 600);
const PER_SECOND = Number(process.argv[3] ?? 40);
/** USD a million requests: what the schema was designed for. */
const AIM = 6.3;
/** Assumed: milliseconds of CPU at the edge and of an object's time (128 MB) a request. */
const CPU_MS = 5;
const OBJECT_MS = 30;
/** List prices in USD: a million requests, CPU milliseconds, object calls, GB-seconds, rows, queue operations. */
const PRICES = {
  request: 0.3,
  cpuMs: 0.02,
  objectCall: 0.15,
  gigabyteSecond: 12.5,
  rowWritten: 1,
  rowRead: 0.001,
  queueOperation: 0.4,
};

const project = join(import.meta.dirname, "../..");
const stateDir = mkdtempSync(join(tmpdir(), "causeway-cost-"));
const upstream = await startUpstream();
const edge = await startEdge();
try {
  const account = await prepare();
  const target: Target = {
    name: "edge",
    url: edge.url,
    headers: { authorization: `Bearer ${account.key}` },
    model: "bench-relay",
  };
  for (let warm = 0; warm < 20; warm++) await ask(target, 4, warm % 2 === 0);
  await quiet();
  await counters();
  await steady(target);
  await quiet();
  print(await counters());
} finally {
  edge.child.disconnect();
  upstream.child.disconnect();
  process.once("exit", () => rmSync(stateDir, { recursive: true, force: true }));
}

/** The local run's own host, with the counting Worker in place of the plain one. */
async function startEdge() {
  const config = join(stateDir, "wrangler.toml");
  const here = (path: string) => JSON.stringify(relative(stateDir, join(project, path)));
  const counting = readFileSync(join(project, "wrangler.toml"), "utf8")
    .replace('"functions/index.ts"', here("test/bench/cost/worker.ts"))
    .replaceAll('"migrations/', () => `"${relative(stateDir, project)}/migrations/`);
  writeFileSync(config, counting);
  // The sender of webhooks stands beside it.
  symlinkSync(join(project, "functions"), join(stateDir, "functions"));
  const child = fork(join(project, "functions/local/host.ts"), {
    detached: true, // It ends its whole process group.
    execArgv: [],
    env: {
      ...process.env,
      WRANGLER_SEND_METRICS: "false",
      WRANGLER_HIDE_BANNER: "true",
      WRANGLER_WRITE_LOGS: "false",
      CLOUDFLARE_CF_FETCH_ENABLED: "false",
      CI: "true",
    },
  });
  const bindings = {
    ADMIN_KEY: "bench-admin-key-0123456789abcdef",
    KEY_SECRET_A: "bench-key-secret-0123456789abcdef",
    BACKEND_TEST_SECRET: TEST_BACKEND_SECRET,
  };
  child.send({ config, stateDir, port: 0, bindings } satisfies HostSettings);
  for (;;) {
    const [message] = (await Promise.race([
      once(child, "message"),
      once(child, "close").then(() => Promise.reject(new Error("The edge ended while it started."))),
    ])) as [HostReady | { progress: string }];
    if ("ready" in message) return { url: message.url, adminKey: bindings.ADMIN_KEY, child };
  }
}

async function prepare() {
  await admin(edge, "PUT", "/regions/us-east", { name: "US East", zone: "enam", simulated_distance_ms: 0 });
  await admin(edge, "PUT", "/models/bench-relay", {
    name: "bench-relay",
    description: "The upstream of the benchmark.",
    owned_by: "bench",
    context_length: 4_096,
    default_max_output_tokens: 512,
  });
  await admin(edge, "POST", "/prices", {
    model: "bench-relay",
    input: "2",
    cached_input: "0.5",
    output: "10",
  });
  await admin(edge, "PUT", "/backends/bknd_bench-relay", {
    name: "bench-relay",
    region: "us-east",
    model: "bench-relay",
    served_as: "bench-relay",
    kind: "causeway",
    chip: "cpu",
    url: upstream.url,
    secret_name: "BACKEND_TEST_SECRET",
    state: "active",
  });
  return newAccount(edge, "1000");
}

/** Streams and whole answers in turn, at an even rate: what is gathered a second (messages, rollups) depends on it. */
async function steady(target: Target): Promise<void> {
  const startedAt = performance.now();
  const running: Promise<unknown>[] = [];
  for (let index = 0; index < REQUESTS; index++) {
    const due = startedAt + (index * 1_000) / PER_SECOND;
    const wait = due - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    running.push(
      ask(target, 8, index % 2 === 0).then(({ status, text }) => {
        if (status !== 200) throw new Error(`${status}: ${text.slice(0, 200)}`);
      }),
    );
  }
  await Promise.all(running);
}

/** Until D1 has everything. */
async function quiet(): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    const audit = await admin<{ accounts: { pending: number }[] }>(edge, "GET", "/audit");
    if (audit.accounts.every(({ pending }) => pending === 0)) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error("D1 did not catch up within a minute.");
}

async function counters(): Promise<Counters> {
  return (await (await fetch(`${edge.url}/counters`)).json()) as Counters;
}

function print(all: Counters): void {
  const each = (count: number) => count / REQUESTS;
  const rows: [string, number, number][] = [
    ["Worker: requests", 1, PRICES.request],
    [`Worker: CPU ms (assumed ${CPU_MS})`, CPU_MS, PRICES.cpuMs],
    ["account object: calls", each(all.accountCalls + all.alarms), PRICES.objectCall],
    ["pool object: calls", each(all.poolCalls), PRICES.objectCall],
    [`objects: GB-seconds (assumed ${OBJECT_MS} ms)`, (OBJECT_MS / 1_000) * 0.128, PRICES.gigabyteSecond],
    ["account object: rows written", each(all.accountRowsWritten), PRICES.rowWritten],
    ["pool object: rows written", each(all.poolRowsWritten), PRICES.rowWritten],
    ["D1: rows written", each(all.d1RowsWritten), PRICES.rowWritten],
    ["D1: rows read", each(all.d1RowsRead), PRICES.rowRead],
    // A message is written, read and deleted.
    ["Queue: operations", 3 * each(all.queueMessages), PRICES.queueOperation],
  ];
  console.log(
    `${REQUESTS} requests of one account at ${PER_SECOND} a second, streams and whole answers in turn; list prices in USD.\n`,
  );
  console.log(`${"".padEnd(36)}${"a request".padStart(12)}${"USD a million".padStart(16)}`);
  let sum = 0;
  for (const [name, count, price] of rows) {
    const usd = count * price;
    sum += usd;
    console.log(`${name.padEnd(36)}${count.toFixed(3).padStart(12)}${usd.toFixed(2).padStart(16)}`);
  }
  console.log(`${"sum".padEnd(48)}${sum.toFixed(2).padStart(16)}`);
  console.log(`${`of the aim of ${AIM}`.padEnd(48)}${(sum / AIM).toFixed(2).padStart(16)}`);
  if (sum > AIM) process.exitCode = 1;
}
