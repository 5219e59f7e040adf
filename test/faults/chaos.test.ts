/**
 * Three regions under steady traffic while engines are killed, slowed, stopped, reset and started again, and a whole region
 * hangs: nothing fails that another region could have served, there is no storm of attempts, and every book is right.
 * The blows are set here; test/long/chaos.test.ts draws them.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { admin, ask, audited, eventually } from "../support/platform.ts";
import { ResetProxy } from "../support/reset.ts";
import { type Run, startRun } from "../support/run.ts";
import { inFlight, pause, placedOn, slow, Traffic } from "../support/traffic.ts";

let run: Run;
let traffic: Traffic;
/** Stands before the engine of eu-west. */
let proxy: ResetProxy;
beforeAll(async () => {
  run = await startRun({ vars: { FIRST_TOKEN_MS: "4000", IDLE_MS: "4000", REQUEST_DEADLINE_MS: "40000" } });
  traffic = await Traffic.prepare(run);
  const id = "bknd_eu-west-1";
  proxy = await ResetProxy.before(run, id, run.backends.find((backend) => backend.id === id)!.url);
});
afterAll(async () => {
  await run?.stop();
  await proxy?.stop();
});

const pidOf = (region: string) => run.refresh().backends.find((backend) => backend.region === region)!.pid;

it("serves on through kills, stops and the loss of a region", { timeout: 240_000 }, async () => {
  traffic.start();
  // Ten retries in ten seconds are the budget of so little traffic: a blow each ten seconds.
  await pause(3_000);
  await run.kill9Engine("bknd_us-east-1");
  await pause(10_000);
  await run.kill9Engine("bknd_eu-west-1");
  await pause(4_000);
  await slow(pidOf("ap-east"), 6_000);
  // A whole region hangs: its processes answer nothing and close nothing.
  const hung = pidOf("us-east");
  process.kill(hung, "SIGSTOP");
  await pause(10_000);
  process.kill(hung, "SIGCONT");
  const backAt = Date.now();
  await pause(5_000);
  await run.kill9Engine("bknd_ap-east-1");
  await pause(6_000);
  // The process lives and its connections are reset, as soon as some carry an answer.
  const { reset, served } = await eventually(async () => {
    const served = traffic.ended.length;
    const live = await placedOn(run, "bknd_eu-west-1");
    return live > 0 ? { reset: proxy.reset(), served } : undefined;
  }, "connections to reset");
  expect(reset).toBeGreaterThan(0);
  await eventually(
    async () => (traffic.ended.length > served + 16 ? true : undefined),
    "answers after the reset",
  );
  await traffic.stop();

  expect(traffic.failed).toEqual([]);
  expect(traffic.ended.length).toBeGreaterThan(50);
  const after = traffic.ended.filter((one) => one.at > backAt);
  expect(after.filter((one) => one.ok).length / after.length).toBeGreaterThanOrEqual(0.95);

  const audit = await audited(run, traffic.account.id);
  expect(audit.accounts[0].findings).toEqual([]);
  const { requests, attempts } = await traffic.attemptsARequest();
  console.log({ requests, attempts, cut: traffic.ended.filter((one) => one.cut).length });
  expect(attempts / requests).toBeLessThanOrEqual(1.2);
  await eventually(async () => ((await inFlight(run)) === 0 ? true : undefined), "nothing in flight");
  // Under all of it the pools measured the engines, by the engines' own counters.
  const { data } = await admin<{ data: { backends: Record<string, unknown>[] }[] }>(run, "GET", "/pools");
  for (const backend of data.flatMap((pool) => pool.backends))
    expect(backend).toMatchObject({
      decode_tokens_per_second: expect.any(Number),
      prefix_hit_share: expect.any(Number),
    });
});

it("answers a fast 503 with Retry-After when every backend is gone, without a storm", {
  timeout: 180_000,
}, async () => {
  const pids = run.refresh().backends.map((backend) => backend.pid);
  for (const pid of pids) process.kill(pid, "SIGSTOP");
  try {
    const refusals = await eventually(
      async () => {
        const startedAt = Date.now();
        const body = {
          model: "causeway-probe",
          messages: [{ role: "user", content: "Hello" }],
          max_tokens: 5,
        };
        const answers = await Promise.all(
          Array.from({ length: 8 }, async () => {
            const response = await ask(run, traffic.account.key, body);
            await response.text();
            return { response, ms: Date.now() - startedAt };
          }),
        );
        // One or two are let through to find out whether something is back; the others are told at once.
        const fast = answers.filter(({ response, ms }) => response.status === 503 && ms < 2_000);
        return fast.length >= 5 ? fast : undefined;
      },
      "fast 503s",
      80_000,
    );
    for (const { response } of refusals)
      expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
  } finally {
    for (const pid of pids) process.kill(pid, "SIGCONT");
  }
  await eventually(
    async () => ((await traffic.one(false)).ok ? true : undefined),
    "the fleet to be found again",
    60_000,
  );
});
