/**
 * The process that holds Miniflare, and so workerd: the edge as wrangler.toml describes it. A process of its own,
 * because workerd outlives a parent that is killed and keeps the port: the host sees the launcher's channel close
 * and ends workerd. Miniflare starts a workerd that died again, on the same port; the host says its new number.
 */
import { dirname, join } from "node:path";
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from "miniflare";
import { unstable_getMiniflareWorkerOptions, unstable_readConfig } from "wrangler";
import { bundle } from "./bundle.ts";
import { Failure } from "./failure.ts";
import { migrate } from "./migrate.ts";
import { requireFree } from "./ports.ts";
import { childrenOf } from "./processes.ts";

/** The launcher's first message. */
export interface HostSettings {
  readonly config: string;
  readonly stateDir: string;
  readonly port: number;
  /** Secrets, and what replaces [vars]. */
  readonly bindings: Readonly<Record<string, string>>;
}

/** The host's answer, and again after each restart of workerd. */
export interface HostReady {
  readonly ready: true;
  readonly url: string;
  readonly workerd: number;
}

/** Miniflare tells its own business at "info"; its errors are ours, and one of them is the end. */
class HostLog extends Log {
  constructor() {
    super(LogLevel.WARN);
  }
  override log(message: string): void {
    process.stderr.write(`${message.replace(/\[mf:\w+\] /, "")}\n`);
  }
  override error(error: Error): void {
    const cause = error.cause instanceof Error ? ` ${error.cause.message}` : "";
    process.stderr.write(`${error.message}${cause}\n`);
    // workerd died and did not come back: the launcher starts a new host.
    if ("code" in error && error.code === "ERR_RUNTIME_FAILURE") process.exit(1);
  }
}

let edge: Miniflare | undefined;
const LOOK_MS = 60_000;

process.once("message", (settings: HostSettings) => {
  run(settings).catch((error: Error) => {
    process.stderr.write(`${error instanceof Failure ? error.message : error.stack}\n`);
    process.exit(1);
  });
});

process.once("disconnect", async () => {
  // Whatever happens to the orderly way, nothing of this process group is left.
  setTimeout(() => process.kill(-process.pid, "SIGKILL"), 2_000);
  await edge?.dispose().catch(() => {});
  process.kill(-process.pid, "SIGKILL");
});

async function run({ config: configPath, stateDir, port, bindings }: HostSettings): Promise<void> {
  const persist = `${stateDir}/v3`;
  const config = unstable_readConfig({ config: configPath }, { hideWarnings: true });
  const [worker, sender] = await Promise.all([
    workerOf(configPath, `${stateDir}/build`, bindings),
    // Its own Worker, with nothing of the edge's but how webhooks may be sent.
    workerOf(
      join(dirname(configPath), "functions/webhooks/wrangler.toml"),
      `${stateDir}/build/webhooks`,
      Object.fromEntries(Object.entries(bindings).filter(([name]) => name.startsWith("WEBHOOK_"))),
    ),
    migrate(config, persist, (line) => process.send?.({ progress: line })),
  ]);

  // Also when this host replaces one that ended: somebody may have taken the port since.
  if (port !== 0) await requireFree(port);
  edge = new Miniflare(
    convertV4MiniflareOptions({
      // Clients reach the Worker itself: Miniflare's own entry in front of it would halve its rate.
      workers: [{ ...worker, unsafeDirectSockets: [{ host: "127.0.0.1", port }] }, sender],
      host: "127.0.0.1",
      port: 0,
      resourcePersistencePath: persist,
      cf: false,
      log: new HostLog(),
      handleStructuredLogs: ({ message }) => process.stderr.write(`${message}\n`),
      unsafeHandleRuntimeRestart: announce,
    }),
  );
  await edge.ready;
  await announce();
  // What wrangler.toml's cron does in a deployment: Miniflare has none.
  setInterval(() => look().catch((error: Error) => process.stderr.write(`${error.message}\n`)), LOOK_MS);
}

async function look(): Promise<void> {
  const worker = await edge!.getWorker();
  await worker.scheduled({ cron: "* * * * *" });
}

/** A Worker as its wrangler.toml describes it, bundled, with more bindings. */
async function workerOf(configPath: string, outdir: string, bindings: Readonly<Record<string, string>>) {
  const config = unstable_readConfig({ config: configPath }, { hideWarnings: true });
  const { workerOptions, define, main } = unstable_getMiniflareWorkerOptions(config);
  const script = await bundle(main!, define, outdir);
  return {
    ...workerOptions,
    name: config.name!,
    bindings: { ...(workerOptions.bindings as object), ...bindings },
    modules: [{ type: "ESModule" as const, path: script }],
    // Names of modules are relative to it and may not lead out: the state folder can be anywhere.
    modulesRoot: dirname(script),
  };
}

async function announce(): Promise<void> {
  const url = (await edge!.unsafeGetDirectURL()).origin;
  const workerd = childrenOf(process.pid, "workerd")[0] ?? 0;
  process.send?.({ ready: true, url, workerd } satisfies HostReady);
}
