import { afterEach, expect, it, vi } from "vitest";
import { admin, edge, env, openAccount, sellModel } from "../../test/support/worker.ts";
import type { Env } from "../env.ts";
import type { AttemptId } from "../ids.ts";
import { AccountObject } from "../objects/account.ts";
import { PoolObject, type Progress } from "../objects/pool.ts";
import { report, takingAlong } from "./progress.ts";

let pools = 0;
let attempts = 0;
const newPool = () => ({ region: `told-${++pools}`, model: "m" });
const newAttempt = (): AttemptId => `req_${++attempts}.1`;

/** Pools that keep what they are told, and fail as often as they are to. */
function listening(failures = 0) {
  const calls: (readonly Progress[])[] = [];
  const object = {
    async report(progress: readonly Progress[]) {
      if (failures-- > 0) throw new Error("away");
      calls.push(progress);
    },
  };
  return { calls, env: { ...env, POOLS: { getByName: () => object } } as unknown as Env };
}

const served = (attempt: AttemptId): Progress => ({
  attempt,
  outcome: { backend: "b", kind: "served", waitedMs: 5 },
  ended: false,
});
const speed = { prefillTokens: 1, firstTokenMs: 1, decodeTokens: 1, decodeMs: 1 };

afterEach(() => {
  vi.restoreAllMocks();
});

it("tells in one call what attempts have to tell, first token and end of each as one", async () => {
  const { calls, env } = listening();
  const pool = newPool();
  const [one, two] = [newAttempt(), newAttempt()];
  await Promise.all([
    report(env, pool, served(one), false),
    report(env, pool, served(two), false),
    report(env, pool, { attempt: one, ended: true, speed }, false),
  ]);
  expect(calls).toEqual([[{ ...served(one), ended: true, speed }, served(two)]]);
});

it("tells a failure at once, and before it what waited, in its order", async () => {
  const { calls, env } = listening();
  const pool = newPool();
  const attempt = newAttempt();
  const waits = report(env, pool, served(attempt), false);
  const failed: Progress = { attempt, outcome: { backend: "b", kind: "failed" }, ended: true };
  await report(env, pool, failed, true);
  expect(calls).toEqual([[served(attempt), failed]]);
  await waits;
  expect(calls).toHaveLength(1);
});

it("goes along with the next placement, and waits on where that fails", async () => {
  const { calls, env } = listening();
  const pool = newPool();
  const [one, two] = [newAttempt(), newAttempt()];
  const waits = [report(env, pool, served(one), false), report(env, pool, served(two), false)];
  await expect(takingAlong(pool, () => Promise.reject(new Error("down")))).rejects.toThrow("down");
  expect(await takingAlong(pool, async (progress) => progress)).toEqual([served(one), served(two)]);
  await Promise.all(waits);
  expect(calls).toEqual([]);
});

it("is told again where the pool was away, and not for ever", async () => {
  const log = vi.spyOn(console, "error").mockImplementation(() => undefined);
  const away = listening(1);
  const pool = newPool();
  await report(away.env, pool, served(newAttempt()), false);
  expect(away.calls).toHaveLength(1);
  const gone = listening(Number.POSITIVE_INFINITY);
  await report(gone.env, pool, served(newAttempt()), false);
  expect(log).toHaveBeenCalledOnce();
  expect(await takingAlong(pool, async (progress) => progress)).toEqual([]);
});

it("a request calls its account twice, and its pool once to begin and at most once to end", async () => {
  const model = "told-model";
  await sellModel(model);
  await admin("PUT", "/regions/told", { name: "x", zone: "enam" });
  const where = { name: "x", region: "told", model, served_as: model, kind: "openai", chip: "gpu" };
  const how = { url: "http://127.0.0.1:9", secret_name: "BACKEND_TEST_SECRET", state: "active" };
  await admin("PUT", "/backends/bknd_told", { ...where, ...how });
  const chunk = (more: object) => `data: ${JSON.stringify({ choices: [{ index: 0, ...more }] })}\n\n`;
  const answer = `${chunk({ delta: { content: "hi" } })}${chunk({ delta: {}, finish_reason: "stop" })}data: [DONE]\n\n`;
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input) =>
    String(input).endsWith("/v1/chat/completions")
      ? new Response(answer, { headers: { "content-type": "text/event-stream" } })
      : Response.json({ object: "list", data: [] }),
  );
  const { key } = await openAccount();
  const ask = async () => {
    const asked = { model, messages: [{ role: "user", content: "hi" }], max_tokens: 5, stream: true };
    const response = await edge("POST", "/v1/chat/completions", key, asked);
    expect(await response.text()).toContain("[DONE]");
  };
  await ask();
  const account = (["admit", "settle"] as const).map((name) => vi.spyOn(AccountObject.prototype, name));
  const pool = (["assign", "report"] as const).map((name) => vi.spyOn(PoolObject.prototype, name));
  for (let i = 0; i < 20; i++) await ask();
  const calls = (spies: readonly { mock: { calls: unknown[] } }[]) =>
    spies.map(({ mock }) => mock.calls.length);
  expect(calls(account)).toEqual([20, 20]);
  const [assigned, reported] = calls(pool);
  expect(assigned).toBe(20);
  // A machine that stalls between a first token and its end makes two of them.
  expect(reported).toBeLessThanOrEqual(25);
});
