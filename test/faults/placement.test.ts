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
  fresh.behave = (call) => call.die();
  const failed = await send({ provider: { order: ["bknd_d"], allow_fallbacks: false } });
  await failed.text();
  // What it waits for may be back by then: whole seconds, at most a minute.
  expect([failed.status, failed.headers.get("retry-after")]).toEqual([
    502,
    expect.stringMatching(/^([1-9]|[1-5]\d|60)$/),
  ]);
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

/** A model of its own with these backends: what one test teaches the router is nothing to the next. */
async function fleetOf(
  model: string,
  members: Record<string, { upstream: Upstream; kind?: string; able?: Record<string, unknown> }>,
) {
  await admin(edge.run, "PUT", `/models/${model}`, { ...about, name: model });
  await admin(edge.run, "POST", "/prices", { model, input: "1", cached_input: "1", output: "1" });
  for (const [id, { upstream, kind, able }] of Object.entries(members))
    await register(edge.run, upstream, id, model, kind, "us-east", able);
}

const errorOf = async (response: Response) => {
  const { error } = (await response.json()) as { error: { code: string; message: string; param: string } };
  return { status: response.status, ...error };
};

const poolOf = async (model: string) => {
  const { data } = await admin<{ data: { model: string; backends: Record<string, any>[] }[] }>(
    edge.run,
    "GET",
    "/pools",
  );
  return data.find((pool) => pool.model === model)!.backends;
};

it("a request that is longer than a backend's context goes to one that has room, or is a 400", async () => {
  const model = "two-contexts";
  const [short, long] = [await startUpstream(), await startUpstream()];
  await fleetOf(model, {
    bknd_short: { upstream: short, able: { context_length: 500 } },
    bknd_long: { upstream: long },
  });
  for (let i = 0; i < 4; i++) await (await send({ model, messages: conversation(`tall ${i}`) })).text();
  expect([short.calls.length, long.calls.length]).toEqual([0, 4]);
  await admin(edge.run, "DELETE", "/backends/bknd_long");
  expect(await errorOf(await send({ model, messages: conversation("tall") }))).toMatchObject({
    status: 400,
    code: "context_length_exceeded",
    message: expect.stringContaining("500 tokens"),
  });
  expect((await send({ model })).status).toBe(200);
});

it("a backend that finds a request too long for its context is not the last word, and is not held guilty", async () => {
  const model = "mistaken-contexts";
  const tooLong = { error: { code: "context_length_exceeded", message: "maximum context length" } };
  const short = await startUpstream((call) => call.refuse(400, tooLong));
  const long = await startUpstream();
  await fleetOf(model, {
    bknd_short1: { upstream: short, able: { context_length: 500, decode_tokens_per_second: 10_000 } },
    bknd_long1: { upstream: long, able: { decode_tokens_per_second: 1 } },
  });
  for (let i = 1; i <= 3; i++) {
    expect((await send({ model })).headers.get("x-causeway-backend")).toBe("bknd_long1");
    expect(short.calls.length).toBe(i); // Asked first each time.
  }
});

it("a full backend is passed over; where all are full, the answer is a 503 with Retry-After", async () => {
  const model = "full-model";
  const [full, free] = [await startUpstream(() => {}), await startUpstream()];
  const fast = { decode_tokens_per_second: 100_000, prefill_tokens_per_second: 1e6 };
  await fleetOf(model, {
    bknd_full: { upstream: full, able: { max_concurrent: 1, max_waiting: 0, ...fast } },
  });
  const held = send({ model });
  await full.call(0);
  const refused = await send({ model });
  expect(refused.status).toBe(503);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  await refused.text();
  await register(edge.run, free, "bknd_free", model);
  for (let i = 0; i < 4; i++)
    expect((await send({ model })).headers.get("x-causeway-backend")).toBe("bknd_free");
  (await full.call(0)).finish();
  await (await held).text();
  full.behave = (call) => call.finish();
  await eventually(async () => {
    const response = await send({ model });
    await response.text();
    return response.headers.get("x-causeway-backend") === "bknd_full" ? true : undefined;
  }, "the full backend to be free again");
  expect(full.calls.length).toBeGreaterThan(1);
});

/** A whole answer of twelve tokens: so long until the first, and so long between two. */
const paced = (firstMs: number, betweenMs: number) => async (call: Call) => {
  call.report.prompt_tokens = 1_000;
  call.open();
  for (let token = 0; token < 12; token++) {
    await new Promise((resolve) => setTimeout(resolve, token === 0 ? firstMs : betweenMs));
    call.token("x");
  }
  call.finish();
};

it("rates are measured: what is slow in truth gets dear, whatever its operator says, and the other gets the traffic", async () => {
  const model = "paced-model";
  const slow = await startUpstream(paced(200, 40));
  const fast = await startUpstream(paced(1, 6));
  const promised = { prefill_tokens_per_second: 50_000, decode_tokens_per_second: 500 };
  await fleetOf(model, {
    bknd_slow: { upstream: slow, kind: "openai", able: promised },
    bknd_fast: { upstream: fast, kind: "openai" },
  });
  const messages = conversation("rates");
  const first = await send({ model, messages, max_tokens: 12 });
  expect(first.headers.get("x-causeway-backend")).toBe("bknd_slow");
  await first.text();
  for (const only of ["bknd_slow", "bknd_slow", "bknd_fast", "bknd_fast", "bknd_fast"])
    await (await send({ model, messages, max_tokens: 12, provider: { only: [only] } })).text();
  const rates = await eventually(async () => {
    const pool = await poolOf(model);
    const of = (id: string) => pool.find((backend) => backend.id === id)!;
    const [one, other] = [of("bknd_slow"), of("bknd_fast")];
    return one.decode_tokens_per_second && other.decode_tokens_per_second ? { one, other } : undefined;
  }, "rates to be measured");
  // Timers fire late and never early: these hold on any machine. Twelve tokens at 40 ms; 1,000 in 200 ms, of which the way there may take some.
  expect(rates.one.decode_tokens_per_second).toBeLessThan(30);
  expect(rates.one.prefill_tokens_per_second).toBeLessThan(25_000);
  expect(rates.other.decode_tokens_per_second).toBeGreaterThan(rates.one.decode_tokens_per_second);
  let turn = 0;
  await eventually(async () => {
    const response = await send({ model, messages: conversation(`other rates ${++turn}`) });
    await response.text();
    // The isolate explains on its own view, which learns a moment after the pool.
    const { ranked } = explained(response);
    const decode = Object.fromEntries(ranked.map(({ backend, terms }) => [backend, terms.decode]));
    const isChosen = response.headers.get("x-causeway-backend") === "bknd_fast";
    return isChosen && decode.bknd_slow > decode.bknd_fast ? true : undefined;
  }, "the fast one to be chosen, and the terms to say why");
});

it("a server's own counters go before the edge's clock, and its cache's hits are shown", async () => {
  const model = "counted-model";
  const upstream = await startUpstream();
  await fleetOf(model, { bknd_counted: { upstream } });
  let turns = 0;
  const counters = () => {
    turns++;
    return [
      `causeway:time_per_output_token_seconds_sum ${turns * 2}`,
      `causeway:time_per_output_token_seconds_count ${turns * 14}`,
      `causeway:prefix_cache_hits_total ${turns * 75}`,
      `causeway:prefix_cache_queries_total ${turns * 100}`,
    ].join("\n");
  };
  Object.defineProperty(upstream, "metrics", { get: counters });
  const backend = await eventually(async () => {
    await (await send({ model })).text();
    const [one] = await poolOf(model);
    return one.decode_tokens_per_second ? one : undefined;
  }, "three differences of counters");
  expect(backend.decode_tokens_per_second).toBeCloseTo(7, 0); // 14 tokens in 2 s, alone.
  expect(backend.prefix_hit_share).toBeCloseTo(0.75, 5);
});

it("a backend whose list of models lacks its name is reported and gets nothing, until it has it", async () => {
  const model = "listed-model";
  const [wrong, right] = [await startUpstream(), await startUpstream()];
  wrong.models = ["another-model"];
  right.models = ["another-model", model];
  await fleetOf(model, {
    bknd_wrong: { upstream: wrong, kind: "sglang" },
    bknd_right: { upstream: right, kind: "sglang" },
  });
  const standing = (state: string) =>
    eventually(async () => {
      const found = (await poolOf(model)).find(({ id }) => id === "bknd_wrong")!;
      return found.standing === state ? found : undefined;
    }, `the backend to be ${state}`);
  expect(await standing("misconfigured")).toMatchObject({
    state: "active",
    reason: expect.stringContaining("list of models"),
    since: expect.any(String),
  });
  const before = wrong.calls.length;
  for (let i = 0; i < 6; i++) expect((await send({ model })).status).toBe(200);
  expect(wrong.calls.length).toBe(before);
  expect((await send({ model, provider: { only: ["bknd_wrong"] } })).status).toBe(503);
  expect(wrong.calls.length).toBe(before);
  wrong.models = [model];
  await standing("up");
  expect((await send({ model, provider: { only: ["bknd_wrong"] } })).status).toBe(200);
});

it.each([
  [{ only: ["bknd_nobody"] }, "provider.only", "bknd_nobody"],
  [{ region: "nowhere" }, "provider.region", "nowhere"],
  [{ order: ["bknd_nobody"], allow_fallbacks: false }, "provider.order", "bknd_nobody"],
  [{ ignore: ["us-east"] }, "provider", "leaves no backend"],
])("preferences %j that leave nobody over are a 400 that says so", async (provider, param, says) => {
  expect(await errorOf(await send({ provider }))).toMatchObject({
    status: 400,
    param,
    message: expect.stringContaining(says),
  });
});

it("names that are nobody's do no harm where others are known, or where they only come first", async () => {
  for (const provider of [{ only: ["bknd_nobody", "bknd_a"] }, { order: ["bknd_nobody"] }])
    expect((await send({ provider })).status).toBe(200);
});

it("slots are leases: after all of it, nothing is in flight", async () => {
  await eventually(async () => {
    const { data } = await admin<{ data: { backends: { placed: number }[] }[] }>(edge.run, "GET", "/pools");
    const placed = data.flatMap((pool) => pool.backends).reduce((sum, backend) => sum + backend.placed, 0);
    return placed === 0 ? true : undefined;
  }, "nothing in flight");
});
