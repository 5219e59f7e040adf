/**
 * The engine's process: listens, loads the model, says when it is ready, and ends as README.md promises. Whatever
 * keeps it from starting is one line on stderr and exit code 1.
 */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { CheckpointError } from "../checkpoint/error.ts";
import { type Arguments, parseArguments, UsageError } from "./arguments.ts";
import { Engine, loadModel } from "./engine.ts";
import { createEngineServer } from "./http.ts";

const exitCodes = { failure: 1, interrupted: 130 };

async function main(): Promise<void> {
  const settings = parseArguments(process.argv.slice(2));
  const secret = process.env.CAUSEWAY_ENGINE_SECRET;
  if (!secret) throw new UsageError("the environment variable CAUSEWAY_ENGINE_SECRET is not set");

  const engine = new Engine(settings.region);
  const server = createEngineServer(engine, secret);
  endWithParent();
  process.once("SIGINT", () => process.exit(exitCodes.interrupted));
  process.once("SIGTERM", () => void shutDown(engine, server, settings.drainMs));

  // Listening first: a taken port is known before a model is read, and /health can say "loading".
  await listen(server, settings);
  const started = performance.now();
  const model = await loadModel({ ...settings, folder: settings.model }, showProgress(settings.model));
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const { variant, threads } = model.ops;
  console.error(`engine: loaded ${model.name} in ${seconds} s: ${variant}, ${threads} threads`);
  engine.serve(model);
  announce({
    ready: true,
    port: (server.address() as AddressInfo).port,
    model: model.name,
    contextLength: model.contextLength,
    region: engine.region,
    boot_id: engine.bootId,
  });
}

/** A parent that died takes its engines with it: nobody else knows their ports or pays for them. */
function endWithParent(): void {
  if (process.channel) process.once("disconnect", () => process.exit(0));
}

function listen(server: Server, { host, port }: Arguments): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** A line for each quarter of the bytes. */
function showProgress(folder: string): (read: number, total: number) => void {
  let shown = 0;
  return (read, total) => {
    const quarters = Math.floor((4 * read) / total);
    if (quarters === shown) return;
    shown = quarters;
    console.error(`engine: loading ${folder}: ${quarters * 25} % of ${(total / 1e6).toFixed(1)} MB`);
  };
}

function announce(ready: object): void {
  console.log(JSON.stringify(ready));
  process.send?.(ready);
}

async function shutDown(engine: Engine, server: Server, drainMs: number): Promise<void> {
  // A second SIGTERM does not wait.
  process.once("SIGTERM", () => process.exit(0));
  await engine.drain(drainMs);
  server.close(() => process.exit(0));
  server.closeIdleConnections();
  // Answers are complete; what is still open now is a client that does not read or keeps its connection.
  setTimeout(() => process.exit(0), 500);
}

function explain(error: unknown, argv: readonly string[]): string {
  if (error instanceof UsageError || error instanceof CheckpointError) return error.message;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "EADDRINUSE") return `port ${argv[argv.indexOf("--port") + 1]} is taken`;
  return message ?? String(error);
}

main().catch((error: unknown) => {
  console.error(`engine: ${explain(error, process.argv)}`);
  process.exit(exitCodes.failure);
});
