/** An engine as a child of the launcher; what it owes is in engine/server/README.md. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { line } from "./banner.ts";
import { Child } from "./child.ts";
import { Failure } from "./failure.ts";
import { type Engine, model } from "./fleet.ts";
import { freePort } from "./ports.ts";
import { project } from "./settings.ts";

export interface EngineReady {
  readonly ready: true;
  readonly port: number;
  readonly contextLength: number;
}

/** One of `engines` that share this machine's cores. */
export async function engineChild(
  { name, region, port: preferred }: Engine,
  engines: number,
  anyPort: boolean,
  secret: string,
  onReady: (ready: EngineReady, pid: number) => void,
): Promise<Child<EngineReady>> {
  const port = await freePort(anyPort ? 0 : preferred);
  const threads = Math.max(1, Math.floor(availableParallelism() / engines));
  return new Child({
    name: `The engine ${name}`,
    module: join(project, "engine/server/main.ts"),
    args: [
      ...["--model", model.folder, "--name", model.id],
      ...["--region", region, "--port", String(port), "--threads", String(threads)],
    ],
    env: { CAUSEWAY_ENGINE_SECRET: secret },
    startWithinMs: 120_000,
    onReady: (ready, pid) => {
      if (ready.contextLength !== model.contextLength) {
        throw new Failure(
          `${model.folder} has a context of ${ready.contextLength} tokens; fleet.ts says ${model.contextLength}.`,
        );
      }
      onReady(ready, pid);
    },
    log: (text) => line(name, text.replace(/^engine: /, "")),
  });
}
