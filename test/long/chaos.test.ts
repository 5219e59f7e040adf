/** The chaos of test/faults with its blows drawn: which engine, which blow, when. */
import { expect, it } from "vitest";
import { generator } from "../support/crash.ts";
import { audited, eventually } from "../support/platform.ts";
import { ResetProxy } from "../support/reset.ts";
import { startRun } from "../support/run.ts";
import { inFlight, pause, slow, Traffic } from "../support/traffic.ts";

const BLOWS = 12;

it("nothing fails that another region could have served, whatever the blows", async () => {
  const seed = Number(process.env.CAUSEWAY_SEED ?? Date.now() % 1_000_000);
  console.log(`CAUSEWAY_SEED=${seed}`);
  const random = generator(seed);
  const run = await startRun({
    vars: { FIRST_TOKEN_MS: "4000", IDLE_MS: "4000", REQUEST_DEADLINE_MS: "40000" },
  });
  const proxies = new Map<string, ResetProxy>();
  try {
    const traffic = await Traffic.prepare(run);
    for (const { id, url } of run.backends) proxies.set(id, await ResetProxy.before(run, id, url));
    traffic.start();
    for (let blow = 0; blow < BLOWS; blow++) {
      await pause(8_000 + random() * 4_000);
      const { backends } = run.refresh();
      const { id, pid } = backends[Math.floor(random() * backends.length)];
      const kind = ["kill", "slow", "hang", "reset"][Math.floor(random() * 4)];
      console.log(blow, kind, id);
      if (kind === "kill") await run.kill9Engine(id);
      else if (kind === "slow") await slow(pid, 5_000);
      else if (kind === "reset") proxies.get(id)!.reset();
      else {
        process.kill(pid, "SIGSTOP");
        await pause(6_000);
        process.kill(pid, "SIGCONT");
      }
    }
    await pause(5_000);
    await traffic.stop();
    expect(traffic.failed).toEqual([]);
    expect((await audited(run, traffic.account.id)).accounts[0].findings).toEqual([]);
    const { requests, attempts } = await traffic.attemptsARequest();
    console.log({ requests, attempts, cut: traffic.ended.filter((one) => one.cut).length });
    expect(attempts / requests).toBeLessThanOrEqual(1.2);
    await eventually(async () => ((await inFlight(run)) === 0 ? true : undefined), "nothing in flight");
  } finally {
    await run.stop();
    for (const proxy of proxies.values()) await proxy.stop();
  }
});
