/**
 * kill -9 of workerd under traffic, and the comparison of every book afterwards: the journal, D1, the engine's own
 * counts, and what customers see in /v1/usage.
 */
import { type Account, admin, audited, newAccount, read } from "./platform.ts";
import { type Run, startRun } from "./run.ts";

export interface CrashOptions {
  readonly kills: number;
  readonly workers: number;
  readonly seed: number;
}

export interface CrashResult {
  readonly clean: boolean;
  readonly findings: readonly string[];
  readonly requests: number;
  readonly finished: number;
  /** Streams that no edge settled, billed from the engine's own count. */
  readonly billedByExpiry: number;
  readonly ledgerNanodollars: bigint;
  readonly usageNanodollars: bigint;
  /** Journal rows that D1 did not have at the moment of a kill, summed over kills. */
  readonly pendingAtKills: number;
}

const OPENING = 5_000_000_000n;

export async function crash({ kills, workers, seed }: CrashOptions): Promise<CrashResult> {
  const random = generator(seed);
  const run = await startRun({ engines: 1, vars: { REQUEST_DEADLINE_MS: "10000" } });
  try {
    const account = await newAccount(run, "5");
    const { data } = await read<{ data: { id: string }[] }>(run, account.key, "/v1/models");
    const traffic = { on: true, requests: 0, finished: 0 };
    const load = Array.from({ length: workers }, (_, worker) =>
      customer(run, account, data[0].id, traffic, worker),
    );
    let pendingAtKills = 0;
    for (let kill = 0; kill < kills; kill++) {
      await pause(300 + random() * 1_500);
      const audit = await admin<{ accounts: { pending: number }[] }>(
        run,
        "GET",
        `/audit?account=${account.id}`,
      );
      pendingAtKills += audit.accounts[0].pending;
      await run.kill9Workerd();
    }
    traffic.on = false;
    await Promise.all(load);
    const audit = await audited(run, account.id, 150_000);
    const usage = await read<{ totals: { cost_nanodollars: string; requests: number } }>(
      run,
      account.key,
      "/v1/usage",
    );
    const balance = await read<{ balance_nanodollars: string }>(run, account.key, "/v1/balance");
    return {
      clean: audit.clean,
      findings: audit.accounts.flatMap((one) => one.findings),
      requests: traffic.requests,
      finished: traffic.finished,
      billedByExpiry: await billedByExpiry(run, account),
      ledgerNanodollars: OPENING - BigInt(balance.balance_nanodollars),
      usageNanodollars: BigInt(usage.totals.cost_nanodollars),
      pendingAtKills,
    };
  } finally {
    await run.stop();
  }
}

/** Streams one long answer after another; whatever happens to one, the next is asked. */
async function customer(
  run: Run,
  { key }: Account,
  model: string,
  traffic: { on: boolean; requests: number; finished: number },
  worker: number,
) {
  for (let turn = 0; traffic.on; turn++) {
    try {
      const response = await fetch(`${run.url}/v1/chat/completions`, {
        method: "POST",
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
        body: JSON.stringify({
          model,
          messages: [{ role: "user", content: "Explain multi-head latent attention." }],
          stream: (worker + turn) % 4 !== 0,
          max_tokens: 150,
          temperature: 1,
          seed: turn,
        }),
      });
      traffic.requests++;
      const text = await response.text();
      if (response.ok && (text.includes("[DONE]") || text.includes('"chat.completion"'))) traffic.finished++;
      else await pause(50);
    } catch {
      await pause(50); // The edge is being killed or is starting again.
    }
  }
}

async function billedByExpiry(run: Run, account: Account): Promise<number> {
  const { data } = await admin<{ data: { ending: string | null; output: number; source: string | null }[] }>(
    run,
    "GET",
    `/accounts/${account.id}/journal?after=0&limit=1000`,
  );
  return data.filter((row) => row.ending === "expired" && row.source === "backend" && row.output > 0).length;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** mulberry32: the kills' moments can be drawn again from the printed seed. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
