/**
 * Three regions under steady traffic while engines are killed, slowed, stopped and started again, and a whole region
 * hangs: nothing fails that another region could have served, there is no storm of attempts, and every book is right.
 * The blows are set here; test/long/chaos.test.ts draws them.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { ask, audited, eventually } from "../support/platform.ts";
import { type Run, startRun } from "../support/run.ts";
import { inFlight, pause, slow, Traffic } from "../support/traffic.ts";

let run: Run;
let traffic: Traffic;
beforeAll(async () => {
  run = await startRun({ vars: { FIRST_TOKEN_MS: "4000", IDLE_MS: "4000", REQUEST_DEADLINE_MS: "40000" } });
  traffic = await Traffic.prepare(run);
});
afterAll(() => run?.stop());

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
  await pause(4_000);
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
