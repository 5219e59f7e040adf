/**
 * `npm start`: the whole on this machine. The edge in workerd, an engine for each simulated region, a demo
 * account with a key that works. Needs no network.
 *
 *   start.ts
 *   ├─ host.ts ── workerd        the edge
 *   └─ engine/server/main.ts     one for each region
 *
 * Children end when their channel to this process closes, so also when it is killed.
 */
import { buildKernels } from "../../engine/kernels/build.ts";
import { banner, line, refuse } from "./banner.ts";
import type { Child } from "./child.ts";
import { buildDashboard } from "./dashboard.ts";
import { edgeChild } from "./edge.ts";
import { type EngineReady, engineChild } from "./engines.ts";
import { Failure } from "./failure.ts";
import { Files } from "./files.ts";
import { engines as fleet } from "./fleet.ts";
import type { HostReady } from "./host.ts";
import { Lock } from "./lock.ts";
import { requireFree } from "./ports.ts";
import { Running } from "./running.ts";
import { seed } from "./seed.ts";
import { readSettings } from "./settings.ts";

const children: (Child<HostReady> | Child<EngineReady>)[] = [];
let lock: Lock | undefined;
let stopping = false;

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop(0));
// A test that forked this run takes it along when it dies.
process.on("disconnect", () => stop(0));
// A terminal that closed, or a pipe whose reader left, is no reason to fall over: SIGHUP says what to do.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});

start().catch(async (error: Error) => {
  if (stopping) return;
  refuse(error instanceof Failure ? error.message : String(error.stack));
  await stop(1);
});

async function start(): Promise<void> {
  if (Number.parseInt(process.versions.node, 10) < 24) {
    throw new Failure(`Causeway needs Node 24 and this is ${process.version}: npm install && npm start.`);
  }
  const settings = readSettings(process.argv.slice(2), process.env);

  const files = new Files(settings.stateDir);
  lock = await Lock.take(files);
  line("state", settings.stateDir);
  if (lock.left > 0) line("state", `processes that a killed run left, now ended: ${lock.left}`);
  if (settings.port !== 0) await requireFree(settings.port, " For another one: npm start -- --port 8790");

  if (await buildDashboard()) line("dashboard", "is built from its sources");
  // Before the engines, which would all do it at once.
  if (await buildKernels("fma")) line("engines", "have their kernels built from the sources");
  const secrets = files.secrets();
  const running = new Running(files, lock, secrets.ADMIN_KEY);
  line("edge", "is starting in workerd");
  children.push(
    edgeChild(settings, secrets, (ready, host) => {
      line("edge", `is up at ${ready.url}`);
      running.edge(ready, host);
    }),
  );
  for (const engine of fleet.slice(0, settings.engines)) {
    children.push(
      await engineChild(
        engine,
        settings.engines,
        settings.port === 0,
        secrets.BACKEND_LOCAL_SECRET,
        (ready, pid) => {
          line(engine.name, `is up at http://127.0.0.1:${ready.port}`);
          running.engine(engine, ready, pid);
        },
      ),
    );
  }
  await Promise.all(children.map((child) => child.start()));

  line("demo", "models, prices, backends and an account, through the admin API");
  const demoKey = await seed(running.now, secrets.ADMIN_KEY, files);
  running.complete(demoKey);
  banner(running.now, process.uptime());
}

async function stop(code: number): Promise<void> {
  if (stopping) return;
  stopping = true;
  await Promise.all(children.map((child) => child.stop()));
  lock?.release();
  process.exit(code);
}
