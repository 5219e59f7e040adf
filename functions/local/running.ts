/** What is up now, as run.json and lock.json tell it: kept true when a part is started again. */
import type { EngineReady } from "./engines.ts";
import type { Files, Run } from "./files.ts";
import type { Engine } from "./fleet.ts";
import type { HostReady } from "./host.ts";
import type { Lock } from "./lock.ts";

export class Running {
  readonly #files: Files;
  readonly #lock: Lock;
  readonly #run: Run;
  #complete = false;

  constructor(files: Files, lock: Lock, adminKey: string) {
    this.#files = files;
    this.#lock = lock;
    this.#run = {
      url: "",
      dashboard: "",
      demoKey: "",
      adminKey,
      pids: { launcher: process.pid, host: 0, workerd: 0 },
      backends: [],
    };
  }

  edge({ url, workerd }: HostReady, host: number): void {
    this.#lock.record("edge", [
      { pid: host, command: "host.ts" },
      { pid: workerd, command: "workerd" },
    ]);
    this.#run.url = url;
    this.#run.dashboard = `${url}/dashboard`;
    this.#run.pids = { launcher: process.pid, host, workerd };
    this.#changed();
  }

  engine({ id, region }: Engine, { port }: EngineReady, pid: number): void {
    this.#lock.record(id, [{ pid, command: "engine/server/main.ts" }]);
    this.#run.backends = [
      ...this.#run.backends.filter((backend) => backend.id !== id),
      { id, region, url: `http://127.0.0.1:${port}`, pid },
    ].sort((a, b) => a.id.localeCompare(b.id));
    this.#changed();
  }

  get now(): Readonly<Run> {
    return this.#run;
  }

  /** From here on there is a run.json. */
  complete(demoKey: string): void {
    this.#run.demoKey = demoKey;
    this.#complete = true;
    this.#changed();
  }

  #changed(): void {
    if (!this.#complete) return;
    this.#files.write("run.json", this.#run);
    if (process.connected) process.send?.({ run: this.#run });
  }
}
