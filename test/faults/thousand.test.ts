/** A thousand requests at once on money for exactly a hundred. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Faulty, startFaulty } from "../support/faulty.ts";
import { ask, audited, eventually, hello, newAccount, read } from "../support/platform.ts";

let edge: Faulty;
beforeAll(async () => {
  edge = await startFaulty({ FIRST_TOKEN_MS: "120000" });
});
afterAll(() => edge?.run.stop());

it("admits exactly a hundred, answers 429 to nine hundred, and overdraws nothing", {
  timeout: 240_000,
}, async () => {
  const { run, upstream } = edge;
  let release!: () => void;
  const decided = new Promise<void>((resolve) => {
    release = resolve;
  });
  upstream.behave = async (call) => {
    await decided; // No token is given until every request was decided.
    call.token("served");
    call.finish();
  };

  // What one request holds, as a request that is open shows it.
  const probe = await newAccount(run, "1");
  const open = ask(run, probe.key, hello());
  await upstream.call(0);
  const held = BigInt(
    (await read<{ held_nanodollars: string }>(run, probe.key, "/v1/balance")).held_nanodollars,
  );
  expect(held).toBeGreaterThan(0n);
  const funds = held * 100n;

  const account = await newAccount(
    run,
    `${funds / 1_000_000_000n}.${String(funds % 1_000_000_000n).padStart(9, "0")}`,
  );
  let refused = 0;
  const answers = Array.from({ length: 1_000 }, async () => {
    const response = await ask(run, account.key, hello());
    if (response.status === 429) refused++;
    return {
      status: response.status,
      body: (await response.json()) as { error?: { code: string } },
      retry: response.headers.get("retry-after"),
    };
  });
  await eventually(async () => (refused === 900 ? true : undefined), "900 refusals", 120_000);
  expect(upstream.calls.length).toBe(101);
  release();
  const all = await Promise.all(answers);
  await open;
  expect(all.filter((answer) => answer.status === 200).length).toBe(100);
  const refusals = all.filter((answer) => answer.status === 429);
  expect(refusals.length).toBe(900);
  for (const { body, retry } of refusals) {
    expect(body.error!.code).toBe("balance_in_flight");
    expect(Number(retry)).toBeGreaterThan(0);
  }
  const audit = await audited(run, account.id);
  expect(audit.clean).toBe(true);
  const balance = await read<{ balance_nanodollars: string; held_nanodollars: string }>(
    run,
    account.key,
    "/v1/balance",
  );
  // 10 tokens in at 2 USD a million and 1 out at 10: 30,000 nanodollars each.
  expect(BigInt(balance.balance_nanodollars)).toBe(funds - 100n * 30_000n);
  expect(balance.held_nanodollars).toBe("0");
});
