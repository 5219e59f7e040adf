/** Where requests go, and that an answer can say why: prefix, load, preferences, drain, and a pool that cannot be asked. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Faulty, startFaulty } from "../support/faulty.ts";
import {
  type Account,
  admin,
  ask,
  eventually,
  hello,
  newAccount,
  register,
  startUpstream,
} from "../support/platform.ts";
import type { Call, Upstream } from "../support/upstream.ts";

let edge: Faulty;
let account: Account;
const MODEL = "placed-model";
const backends = ["bknd_a", "bknd_b", "bknd_c"];
const upstreams: Record<string, Upstream> = {};

const about = {
  name: MODEL,
  description: "x",
  owned_by: "x",
  context_length: 100_000,
  default_max_output_tokens: 64,
};

beforeAll(async () => {
  edge = await startFaulty();
  account = await newAccount(edge.run, "100");
  await admin(edge.run, "PUT", `/models/${MODEL}`, about);
  await admin(edge.run, "POST", "/prices", { model: MODEL, input: "1", cached_input: "1", output: "1" });
  for (const id of backends) {
    upstreams[id] = await startUpstream();
    await register(edge.run, upstreams[id], id, MODEL);
  }
});
afterAll(() => edge?.run.stop());

const send = (body: Record<string, unknown>, headers: Record<string, string> = {}) =>
  ask(edge.run, account.key, hello({ model: MODEL, max_tokens: 8, ...body }), {
    headers: { authorization: `Bearer ${account.key}`, "x-causeway-explain": "1", ...headers },
  });

const explained = (response: Response) =>
  JSON.parse(response.headers.get("x-causeway-candidates")!) as {
    ranked: { backend: string; region: string; cost: number; terms: Record<string, number> }[];
    turned_down: { backend: string; reason: string }[];
  };

/** A conversation that is worth a cache: some 2,000 tokens. */
const conversation = (topic: string) => [{ role: "user", content: `${topic}. `.repeat(1_000) }];

it("a conversation's second turn goes where its cache is, and the terms show it", async () => {
  for (const topic of ["ships", "roads", "rails", "kites"]) {
    const first = await send({ messages: conversation(topic) });
    const home = first.headers.get("x-causeway-backend")!;
    const { choices } = (await first.json()) as { choices: { message: { content: string } }[] };
    const messages = [
      ...conversation(topic),
      { role: "assistant", content: choices[0].message.content },
      { role: "user", content: "And then?" },
    ];
    const second = await send({ messages });
    expect(second.headers.get("x-causeway-backend")).toBe(home);
    await second.text();
    const { ranked } = explained(
      await eventually(async () => {
        const third = await send({ messages });
        await third.text();
        return explained(third).ranked[0]?.backend === home ? third : undefined;
      }, "the isolate to have learnt of it"),
    );
    const others = ranked.filter((candidate) => candidate.backend !== home);
    expect(others.length).toBe(2);
    for (const other of others) expect(ranked[0].terms.prefill ?? 0).toBeLessThan(other.terms.prefill);
  }
});

it("another account's equal prompt finds no cache there", async () => {
  const messages = conversation("secrets");
  await (await send({ messages })).text();
  const stranger = await newAccount(edge.run, "100");
  const response = await ask(edge.run, stranger.key, hello({ model: MODEL, messages }), {
    headers: { authorization: `Bearer ${stranger.key}`, "x-causeway-explain": "1" },
  });
  await response.text();
  const prefills = explained(response).ranked.map((candidate) => candidate.terms.prefill);
  expect(new Set(prefills).size).toBe(1);
});

it("load goes before cache when it must: a busy backend is passed over", async () => {
  const messages = conversation("queues");
  const home = (await send({ messages })).headers.get("x-causeway-backend")!;
  upstreams[home].behave = () => {}; // It takes requests and gives no token.
  const stuck = new AbortController();
  const waiting = Array.from({ length: 40 }, () =>
    ask(edge.run, account.key, hello({ model: MODEL, max_tokens: 8, messages, provider: { only: [home] } }), {
      signal: stuck.signal,
    }).catch(() => undefined),
  );
  await eventually(
    async () => (upstreams[home].calls.length >= 30 ? true : undefined),
    "requests to pile up",
    30_000,
  );
  const response = await send({ messages });
  expect(response.headers.get("x-causeway-backend")).not.toBe(home);
  await response.text();
  stuck.abort();
  for (const call of upstreams[home].calls) if (!call.ended) call.finish();
  upstreams[home].behave = (call) => call.finish();
  await Promise.all(waiting);
});

it("preferences are kept: only, ignore, order, and no fallbacks", async () => {
  const where = async (provider: Record<string, unknown>) => {
    const response = await send({ provider });
    await response.text();
    return { status: response.status, backend: response.headers.get("x-causeway-backend") };
  };
  const fresh = await startUpstream();
  await register(edge.run, fresh, "bknd_d", MODEL);
  expect(await where({ only: ["bknd_d"] })).toEqual({ status: 200, backend: "bknd_d" });
  for (let i = 0; i < 3; i++)
    expect((await where({ ignore: ["bknd_d", "bknd_a"] })).backend).toMatch(/bknd_[bc]/);
  expect((await where({ order: ["bknd_d", "bknd_b"] })).backend).toBe("bknd_d");
  expect(await where({ region: "nowhere" })).toMatchObject({ status: 503 });
  fresh.behave = (call) => call.die();
  expect((await where({ order: ["bknd_d"], allow_fallbacks: false })).status).toBe(502);
  expect((await where({ order: ["bknd_d", "bknd_b"] })).status).toBe(200);
  await admin(edge.run, "DELETE", "/backends/bknd_d");
});

it("a backend that is drained finishes its streams and gets no new request", async () => {
  const target = await startUpstream();
  await register(edge.run, target, "bknd_e", MODEL);
  target.behave = (call) => call.token("before");
  const running = await ask(
    edge.run,
    account.key,
    hello({ model: MODEL, stream: true, provider: { only: ["bknd_e"] } }),
  );
  const call = await target.call(0);
  const row = { name: "e", region: "us-east", model: MODEL, served_as: MODEL, kind: "causeway", chip: "cpu" };
  await admin(edge.run, "PUT", "/backends/bknd_e", {
    ...row,
    url: target.url,
    secret_name: "BACKEND_TEST_SECRET",
    state: "draining",
  });
  const refused = await send({ provider: { only: ["bknd_e"] } });
  expect(refused.status).toBe(503);
  call.token(" and after");
  call.finish();
  const text = await running.text();
  expect(text).toContain("and after");
  expect(text).toContain("[DONE]");
  await admin(edge.run, "DELETE", "/backends/bknd_e");
});

it.each([
  ["slowly", 300],
  ["at once", 0],
])(
  "a prompt that two backends died of (%s) goes to no third, and others are served on",
  async (how, afterMs) => {
    const doomed: Upstream[] = [];
    const model = `doomed-${how.replace(" ", "-")}`;
    await admin(edge.run, "PUT", `/models/${model}`, { ...about, name: model });
    await admin(edge.run, "POST", "/prices", { model, input: "1", cached_input: "1", output: "1" });
    const isDeadly = (call: Call) => call.body.messages[0].content.includes("deadly");
    for (const id of ["bknd_x", "bknd_y", "bknd_z"]) {
      const upstream = await startUpstream(async (call) => {
        if (!isDeadly(call)) return call.finish();
        if (afterMs > 0) await new Promise((resolve) => setTimeout(resolve, afterMs));
        call.die();
      });
      doomed.push(upstream);
      await register(edge.run, upstream, `${id}${afterMs}`, model);
    }
    const body = { model, messages: [{ role: "user", content: "a deadly prompt" }] };
    for (let i = 0; i < 2; i++) {
      const response = await ask(edge.run, account.key, hello(body));
      expect(response.status).toBe(502);
      expect(((await response.json()) as { error: { code: string } }).error.code).toBe("prompt_quarantined");
      expect(doomed.flatMap((upstream) => upstream.calls).filter(isDeadly).length).toBe(2);
    }
    expect((await ask(edge.run, account.key, hello({ model }))).status).toBe(200);
  },
);

it("one account's long prompt does not shut out another's short one", async () => {
  const model = "shared-model";
  await admin(edge.run, "PUT", `/models/${model}`, { ...about, name: model, context_length: 4_096 });
  await admin(edge.run, "POST", "/prices", { model, input: "1", cached_input: "1", output: "1" });
  const upstream = await startUpstream(() => {});
  await register(edge.run, upstream, "bknd_shared", model); // A cpu: two hundred prompt tokens a second are assumed.
  const stop = new AbortController();
  const long = { model, messages: [{ role: "user", content: "long ".repeat(120_000) }], max_tokens: 8 };
  const held = ask(edge.run, account.key, hello(long), { signal: stop.signal }).catch(() => undefined);
  await upstream.call(0);
  upstream.behave = (call) => call.finish();
  const other = await newAccount(edge.run, "1");
  for (let i = 0; i < 5; i++) {
    expect((await ask(edge.run, other.key, hello({ model, max_tokens: 8 }))).status).toBe(200);
  }
  (await upstream.call(0)).finish();
  stop.abort();
  await held;
});

it("slots are leases: after all of it, nothing is in flight", async () => {
  await eventually(async () => {
    const { data } = await admin<{ data: { backends: { placed: number }[] }[] }>(edge.run, "GET", "/pools");
    const placed = data.flatMap((pool) => pool.backends).reduce((sum, backend) => sum + backend.placed, 0);
    return placed === 0 ? true : undefined;
  }, "nothing in flight");
});
