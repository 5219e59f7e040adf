/** Steady traffic on a running whole, for tests that break things under it: 8 workers, streams and whole answers in turn. */
import { type Account, admin, newAccount, read } from "./platform.ts";
import type { Run } from "./run.ts";

export interface Ended {
  readonly at: number;
  readonly ok: boolean;
  /** A stream that broke after its first token: continuation on another backend is not promised yet. */
  readonly cut: boolean;
  readonly status: number;
  readonly region: string | null;
}

export class Traffic {
  readonly ended: Ended[] = [];
  readonly account: Account;
  readonly #run: Run;
  readonly #model: string;
  #on = false;
  #turns = 0;
  #workers: Promise<void>[] = [];

  private constructor(run: Run, account: Account, model: string) {
    this.#run = run;
    this.account = account;
    this.#model = model;
  }

  static async prepare(run: Run): Promise<Traffic> {
    const account = await newAccount(run, "5");
    const { data } = await read<{ data: { id: string }[] }>(run, account.key, "/v1/models");
    return new Traffic(run, account, data[0].id);
  }

  start(workers = 8): void {
    this.#on = true;
    this.#workers = Array.from({ length: workers }, async (_, worker) => {
      for (let turn = 0; this.#on; turn++) this.ended.push(await this.one((worker + turn) % 2 === 0));
    });
  }

  async stop(): Promise<void> {
    this.#on = false;
    await Promise.all(this.#workers);
  }

  /** What failed though another region could have served it. */
  get failed(): Ended[] {
    return this.ended.filter((one) => !one.ok && !one.cut);
  }

  async one(stream: boolean): Promise<Ended> {
    const response = await fetch(`${this.#run.url}/v1/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${this.account.key}`, "content-type": "application/json" },
      body: JSON.stringify({
        model: this.#model,
        stream,
        max_tokens: 12,
        messages: [{ role: "user", content: `Question ${++this.#turns}: what is a region?` }],
      }),
    });
    const text = await response.text();
    const ok = response.ok && (text.includes("[DONE]") || text.includes('"chat.completion"'));
    const cut = stream && response.ok && !ok && text.includes('"content":"');
    return {
      at: Date.now(),
      ok,
      cut,
      status: response.status,
      region: response.headers.get("x-causeway-region"),
    };
  }

  /** Attempts a request, from the journal. */
  async attemptsARequest(): Promise<{ requests: number; attempts: number }> {
    const { data } = await admin<{ data: { kind: string; attempts: unknown[] | null }[] }>(
      this.#run,
      "GET",
      `/accounts/${this.account.id}/journal?limit=1000`,
    );
    const requests = data.filter((row) => row.kind === "usage");
    return {
      requests: requests.length,
      attempts: requests.reduce((sum, row) => sum + (row.attempts?.length ?? 0), 0),
    };
  }
}

/** Places in pools that are taken, all together. */
export async function inFlight(run: Run): Promise<number> {
  const { data } = await admin<{ data: { backends: { placed: number }[] }[] }>(run, "GET", "/pools");
  return data.flatMap((pool) => pool.backends).reduce((sum, backend) => sum + backend.placed, 0);
}

/** Places that are taken on one backend. */
export async function placedOn(run: Run, id: string): Promise<number> {
  const { data } = await admin<{ data: { backends: { id: string; placed: number }[] }[] }>(
    run,
    "GET",
    "/pools",
  );
  const backend = data.flatMap((pool) => pool.backends).find((one) => one.id === id);
  return backend?.placed ?? 0;
}

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Stops and continues a process in turns, so that it does half of its work. */
export async function slow(pid: number, forMs: number): Promise<void> {
  const until = Date.now() + forMs;
  while (Date.now() < until) {
    process.kill(pid, "SIGSTOP");
    await pause(150);
    process.kill(pid, "SIGCONT");
    await pause(150);
  }
}
