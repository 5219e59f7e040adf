/**
 * Three regions under steady traffic while engines are killed, stopped and started again, and a whole region hangs:
 * nothing fails that another region could have served, there is no storm of attempts, and every book is right.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Account, admin, audited, eventually, newAccount, read } from "../support/platform.ts";
import { type Run, startRun } from "../support/run.ts";

let run: Run;
let account: Account;
let model: string;
beforeAll(async () => {
  run = await startRun({ vars: { FIRST_TOKEN_MS: "4000", IDLE_MS: "4000", REQUEST_DEADLINE_MS: "40000" } });
  account = await newAccount(run, "5");
  model = (await read<{ data: { id: string }[] }>(run, account.key, "/v1/models")).data[0].id;
});
afterAll(() => run?.stop());

interface Ended {
  readonly at: number;
  readonly ok: boolean;
  /** A stream that broke after its first token: continuation on another backend is not promised yet. */
  readonly cut: boolean;
  readonly status: number;
  readonly region: string | null;
}

async function one(stream: boolean, turn: number): Promise<Ended> {
  const response = await fetch(`${run.url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${account.key}`, "content-type": "application/json" },
    body: JSON.stringify({
      model,
      stream,
      max_tokens: 12,
      messages: [{ role: "user", content: `Question ${turn}: what is a region?` }],
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

const inFlight = async () => {
  const { data } = await admin<{ data: { backends: { placed: number }[] }[] }>(run, "GET", "/pools");
  return data.flatMap((pool) => pool.backends).reduce((sum, backend) => sum + backend.placed, 0);
};

it("serves on through kills, stops and the loss of a region", { timeout: 240_000 }, async () => {
  const ended: Ended[] = [];
  let on = true;
  let turns = 0;
  const workers = Array.from({ length: 8 }, async (_, worker) => {
    for (let turn = 0; on; turn++) ended.push(await one((worker + turn) % 2 === 0, ++turns));
  });
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  const pidOf = (region: string) => run.refresh().backends.find((backend) => backend.region === region)!.pid;

  // Ten retries in ten seconds are the budget of so little traffic: a blow each ten seconds.
  await pause(3_000);
  await run.kill9Engine("bknd_us-east-1");
  await pause(10_000);
  await run.kill9Engine("bknd_eu-west-1");
  await pause(10_000);
  // A whole region hangs: its processes answer nothing and close nothing.
  const hung = pidOf("us-east");
  process.kill(hung, "SIGSTOP");
  await pause(10_000);
  process.kill(hung, "SIGCONT");
  const backAt = Date.now();
  await pause(5_000);
  await run.kill9Engine("bknd_ap-east-1");
  await pause(5_000);
  on = false;
  await Promise.all(workers);

  const failed = ended.filter((one) => !one.ok && !one.cut);
  expect(failed).toEqual([]);
  expect(ended.length).toBeGreaterThan(50);
  const after = ended.filter((one) => one.at > backAt);
  expect(after.filter((one) => one.ok).length / after.length).toBeGreaterThanOrEqual(0.95);

  const audit = await audited(run, account.id);
  expect(audit.accounts[0].findings).toEqual([]);
  const journal = await admin<{ data: { kind: string; attempts: unknown[] | null }[] }>(
    run,
    "GET",
    `/accounts/${account.id}/journal?limit=1000`,
  );
  const requests = journal.data.filter((row) => row.kind === "usage");
  const attempts = requests.reduce((sum, row) => sum + (row.attempts?.length ?? 0), 0);
  console.log({ requests: requests.length, attempts, cut: ended.filter((one) => one.cut).length });
  expect(attempts / requests.length).toBeLessThanOrEqual(1.2);
  await eventually(async () => ((await inFlight()) === 0 ? true : undefined), "nothing in flight");
});

it("answers a fast 503 with Retry-After when every backend is gone, without a storm", {
  timeout: 120_000,
}, async () => {
  const pids = run.refresh().backends.map((backend) => backend.pid);
  for (const pid of pids) process.kill(pid, "SIGSTOP");
  try {
    // The first ones find out, by waiting for a token that does not come.
    await Promise.all([1, 2, 3].map((turn) => one(false, turn)));
    const refused = await eventually(
      async () => {
        const startedAt = Date.now();
        const response = await fetch(`${run.url}/v1/chat/completions`, {
          method: "POST",
          headers: { authorization: `Bearer ${account.key}`, "content-type": "application/json" },
          body: JSON.stringify({ model, messages: [{ role: "user", content: "Hello" }], max_tokens: 5 }),
        });
        await response.text();
        const fast = Date.now() - startedAt < 2_000;
        return response.status === 503 && fast ? response : undefined;
      },
      "a fast 503",
      60_000,
    );
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  } finally {
    for (const pid of pids) process.kill(pid, "SIGCONT");
  }
  await eventually(
    async () => ((await one(false, 0)).ok ? true : undefined),
    "the fleet to be found again",
    60_000,
  );
});
