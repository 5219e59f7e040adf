/**
 * vLLM and SGLang, played by a backend that breaks in every way they were seen to, and in some they were not. What
 * all kinds on the reading path share is in backend.test.ts and stream.test.ts; here is what their dialects add.
 */
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { recorded, recordedText } from "../conformance/recordings.ts";
import { eventsOf, type Faulty, RawClient, startFaulty } from "../support/faulty.ts";
import {
  type Account,
  ask,
  audited,
  hello,
  newAccount,
  register,
  sell,
  settled,
  startUpstream,
} from "../support/platform.ts";
import type { Call, Upstream } from "../support/upstream.ts";

const KINDS = ["vllm", "sglang"] as const;
type Kind = (typeof KINDS)[number];

/** SGLang says what was cached in every count, vLLM in the last one only. */
const CACHED = 4;
const PROMPT = 10;

let edge: Faulty;
let account: Account;
const upstreams = {} as Record<Kind, Upstream>;

beforeAll(async () => {
  // Idle for longer than the second after which a client that left is seen.
  edge = await startFaulty({ FIRST_TOKEN_MS: "2500", IDLE_MS: "2000" });
  account = await newAccount(edge.run, "100");
  for (const kind of KINDS) {
    upstreams[kind] = await startUpstream();
    await sell(edge.run, [], kind);
    await register(edge.run, upstreams[kind], `bknd_${kind}`, kind, kind);
  }
});
afterAll(async () => {
  if (!edge) return;
  const audit = await audited(edge.run, account.id);
  expect(audit.accounts[0]).toMatchObject({ held: "0", open_reservations: 0, findings: [] });
  await edge.run.stop();
});

/** A request to the backend that is an answer's, and not an abort. */
const isAnswer = (call: Call) => "messages" in call.body;

/** Lets answers go as the test says; aborts get a 200. */
function behave(upstream: Upstream, behaviour: (call: Call) => unknown): void {
  upstream.behave = (call) => (isAnswer(call) ? behaviour(call) : call.refuse(200, {}));
}

/** A backend that behaves like this, as one of this kind. */
function startKind(behaviour: (call: Call) => unknown): Promise<Upstream> {
  return startUpstream((call) => (isAnswer(call) ? behaviour(call) : call.refuse(200, {})));
}

/** The usage that this kind puts on a chunk in the middle. */
function running(kind: Kind, completion: unknown) {
  const details = kind === "sglang" ? { prompt_tokens_details: { cached_tokens: CACHED } } : {};
  return { prompt_tokens: PROMPT, completion_tokens: completion, ...details };
}

/** The usage at the end. */
const last = (completion: unknown) => ({
  prompt_tokens: PROMPT,
  completion_tokens: completion,
  prompt_tokens_details: { cached_tokens: CACHED },
});

const data = (value: unknown) => `data: ${JSON.stringify(value)}\n\n`;

/** A chunk with text and this count of all tokens up to it; undefined: no count. */
function says(call: Call, delta: object, usage?: unknown): void {
  call.raw(data({ ...call.chunk(delta), ...(usage !== undefined && { usage }) }));
}

function finishes(call: Call, usage?: unknown): void {
  says(call, {});
  call.raw(data(call.chunk({}, "stop")));
  if (usage !== undefined) call.raw(data({ ...call.chunk({}), choices: [], usage }));
}

/** What so many tokens cost, in nanodollars; vLLM's running counts know of no cached ones. */
function cost(cached: number, completion: number): string {
  return String((PROMPT - cached) * 2_000 + cached * 500 + completion * 10_000);
}

async function run(kind: Kind, stream: boolean, behaviour: (call: Call) => unknown) {
  behave(upstreams[kind], behaviour);
  const response = await ask(edge.run, account.key, hello({ model: kind, stream }));
  const text = await response.text();
  const generation = await settled(edge.run, account.key, response.headers.get("x-request-id")!);
  return { response, text, generation };
}

/** A stream to a client that can leave, and the backend's end of it. */
async function open(kind: Kind, behaviour: (call: Call) => unknown) {
  let arrived!: (call: Call) => void;
  const arrival = new Promise<Call>((resolve) => {
    arrived = resolve;
  });
  behave(upstreams[kind], (call) => {
    arrived(call);
    return behaviour(call);
  });
  const client = new RawClient(edge.run.url, account.key, hello({ stream: true, model: kind }));
  return { client, call: await arrival };
}

describe.each(KINDS)("%s", (kind) => {
  it("is asked for running counts, with a salt and an id of the edge's own, whatever the client sends", async () => {
    const calls = upstreams[kind].calls;
    const index = calls.length;
    behave(upstreams[kind], (call) => {
      says(call, { content: "Hi" });
      finishes(call, last(1));
      call.end();
    });
    const chosen = { cache_salt: "mine", rid: "mine", chat_template: "mine", extra_key: "mine" };
    const body = hello({ model: kind, ...chosen });
    const response = await ask(edge.run, account.key, body, {
      headers: {
        authorization: `Bearer ${account.key}`,
        "content-type": "application/json",
        "x-request-id": "mine",
      },
    });
    expect(response.headers.get("x-causeway-ignored")).toBe(Object.keys(chosen).join(", "));
    const call = calls[index]!;
    expect(call.body.stream_options).toEqual({ include_usage: true, continuous_usage_stats: true });
    expect(call.body.cache_salt).toMatch(/^[0-9a-f]{64}$/);
    const attempt = `${response.headers.get("x-request-id")}.1`;
    expect(kind === "vllm" ? call.headers["x-request-id"] : call.body.rid).toBe(attempt);
    expect(JSON.stringify([call.body, call.headers])).not.toContain("mine");
    expect(JSON.stringify([call.body, call.headers])).not.toContain(account.id);
  });

  it("whose client leaves is billed by the last running count, to the token, and is told to stop", async () => {
    const { client, call } = await open(kind, (call) => {
      says(call, { role: "assistant", content: "" }, running(kind, 0));
      says(call, { content: "one" }, running(kind, 1));
      // Two tokens in one chunk: chunks are not tokens.
      says(call, { content: " two three" }, running(kind, 3));
    });
    await client.sees(/two three/);
    client.leave();
    await call.left;
    const generation = await settled(edge.run, account.key, await client.id());
    const cached = kind === "sglang" ? CACHED : 0;
    expect(generation).toMatchObject({
      ending: "client_left",
      usage: { prompt_tokens: PROMPT, cached_tokens: cached, completion_tokens: 3, source: "backend" },
      cost_nanodollars: cost(cached, 3),
    });
    const { calls } = upstreams[kind];
    const told = () => calls.some((other) => !isAnswer(other) && other.body.rid === call.body.rid);
    if (kind === "sglang") while (!told()) await upstreams[kind].call(calls.length);
    else expect(calls.every(isAnswer)).toBe(true);
  });

  it.each([
    ["dies", (call: Call) => call.die()],
    [
      "says that its engine died, and [DONE]",
      (call: Call) => {
        const { body } = recorded("vllm-0.32/die-sigterm-stream.http");
        const text = new TextDecoder().decode(body);
        call.raw(text.slice(text.indexOf('data: {"error"')));
        call.end("failed");
      },
    ],
    ["ends without a finish", (call: Call) => call.end("failed")],
    [
      "stops inside a line",
      (call: Call) => {
        call.raw('data: {"choices":[{"delta":{"content":"lost"');
        call.die();
      },
    ],
    [
      "stops inside a character",
      (call: Call) => {
        call.raw(new Uint8Array([...Buffer.from('data: {"choices":[{"delta":{"content":"'), 0xe2, 0x82]));
        call.die();
      },
    ],
    ["stalls", () => {}],
    [
      "sends heartbeats and no tokens",
      (call: Call) => {
        const beat = setInterval(() => says(call, {}, running(kind, 2)), 100);
        call.left.then(() => clearInterval(beat));
      },
    ],
  ])(
    "that %s in the middle is billed by its last running count, and its stream says so",
    async (_, breaks) => {
      const { client, call } = await open(kind, (call) => says(call, { content: "half" }, running(kind, 2)));
      await client.sees(/half/);
      breaks(call);
      await client.ended;
      expect(eventsOf(client.text).at(-1)).toMatchObject({
        error: { code: "backend_failed" },
        choices: [{ finish_reason: "error" }],
      });
      expect(client.text).not.toContain("[DONE]");
      const generation = await settled(edge.run, account.key, await client.id());
      const cached = kind === "sglang" ? CACHED : 0;
      expect(generation).toMatchObject({
        ending: "backend_failed",
        usage: { completion_tokens: 2, source: "backend" },
        cost_nanodollars: cost(cached, 2),
      });
    },
  );

  it.each([
    ["ends", (call: Call) => call.end()],
    ["is cut", (call: Call) => call.die()],
    ["hangs", () => {}],
  ])("is complete with its finish and its count, when [DONE] does not come and it %s", async (_, ends) => {
    const { client, call } = await open(kind, (call) => {
      // In one piece: when the client sees the text, the edge has the rest as well.
      const text = { ...call.chunk({ content: "all" }), usage: running(kind, 1) };
      const usage = { ...call.chunk({}), choices: [], usage: last(1) };
      call.raw(data(text) + data(call.chunk({}, "stop")) + data(usage));
    });
    await client.sees(/"all"/);
    ends(call);
    await client.ended;
    expect(eventsOf(client.text).at(-1)).toBe("[DONE]");
    const generation = await settled(edge.run, account.key, await client.id());
    expect(generation).toMatchObject({ ending: "finished", cost_nanodollars: cost(CACHED, 1) });
  });

  it.each([
    ["missing", undefined],
    ["null", null],
    ["negative", last(-5)],
    ["a text", last("7")],
    ["a fraction", last(1.5)],
    ["more than was asked for", last(101)],
    ["beyond all numbers", last(1e300)],
    ["more cached than there was", { ...last(2), prompt_tokens_details: { cached_tokens: 11 } }],
    ["a prompt longer than the text", { ...last(2), prompt_tokens: 1_000_000 }],
  ])("whose last count is %s is billed by its running one", async (_, usage) => {
    const { generation } = await run(kind, true, (call) => {
      says(call, { content: "one" }, running(kind, 1));
      says(call, { content: " two" }, running(kind, 2));
      finishes(call, usage);
      call.end();
    });
    const cached = kind === "sglang" ? CACHED : 0;
    expect(generation).toMatchObject({
      ending: "finished",
      usage: { completion_tokens: 2, source: "backend" },
      cost_nanodollars: cost(cached, 2),
    });
  });

  it("that writes NaN for a number ends its answer: that is not JSON", async () => {
    const { response, generation } = await run(kind, false, (call) => {
      call.raw('data: {"choices":[{"delta":{"content":"x"}}],"usage":{"completion_tokens":NaN}}\n\n');
      call.end();
    });
    expect(response.status).toBe(502);
    expect(generation.cost_nanodollars).toBe("0");
  });

  it("whose counts turn absurd on the way is billed by the text, never by less than its last good count", async () => {
    const { generation } = await run(kind, true, (call) => {
      says(call, { content: "one" }, running(kind, 1));
      for (let i = 0; i < 20; i++) says(call, { content: " and one more" }, running(kind, -1));
      finishes(call, last(-1));
      call.end();
    });
    // 243 bytes; no token is longer than all of them, or shorter than one.
    expect(["edge", "estimate"]).toContain(generation.usage.source);
    expect(generation.usage.completion_tokens).toBeGreaterThan(20);
    expect(generation.usage.completion_tokens).toBeLessThanOrEqual(100);
    expect(generation.usage.prompt_tokens).toBe(PROMPT);
  });

  it("that says its last count twice is billed once", async () => {
    const { generation } = await run(kind, true, (call) => {
      says(call, { content: "one" }, running(kind, 1));
      finishes(call, last(1));
      finishes(call, last(1));
      call.end();
    });
    expect(generation.cost_nanodollars).toBe(cost(CACHED, 1));
  });

  it("whose answer is compressed is a 502: a small body could unfold without end", async () => {
    // Both would be understood, were they read.
    const answer = data({ choices: [{ delta: { content: "x" }, finish_reason: "stop" }] });
    const bomb = JSON.stringify({
      error: { code: "context_length_exceeded" },
      fill: " ".repeat(32 * 1024 * 1024),
    });
    for (const [status, body, seen, code] of [
      [200, answer, 502, "backend_failed"],
      [400, bomb, 400, "invalid_value"],
    ] as const) {
      const { response, text, generation } = await run(kind, true, (call) => {
        call.open(status, { "content-encoding": "gzip" });
        call.raw(gzipSync(body));
        call.end("failed");
      });
      expect(response.status).toBe(seen);
      expect(JSON.parse(text).error.code).toBe(code);
      expect(generation.cost_nanodollars).toBe("0");
    }
  });

  it("that never sends headers is a 504, and is told to stop", async () => {
    const calls = upstreams[kind].calls;
    const index = calls.length;
    const { response, generation } = await run(kind, false, () => {});
    expect(response.status).toBe(504);
    expect(generation).toMatchObject({ cost_nanodollars: "0", attempts: [{ outcome: "timed_out" }] });
    await calls[index]!.left;
    if (kind === "sglang") {
      expect((await upstreams[kind].call(index + 1)).body).toEqual({ rid: calls[index]!.body.rid });
    }
  });

  it("that sends headers and no token is a 504", async () => {
    const { response } = await run(kind, false, (call) => {
      says(call, { role: "assistant", content: "" }, running(kind, 0));
    });
    expect(response.status).toBe(504);
  });

  it("that reasons is served: the first thought is a first token, and goes out under both names", async () => {
    const name = kind === "vllm" ? "reasoning" : "reasoning_content";
    const details =
      kind === "sglang" ? { reasoning_tokens: 2 } : { completion_tokens_details: { reasoning_tokens: 2 } };
    const { client, call } = await open(kind, (call) => says(call, { [name]: "hm" }, running(kind, 2)));
    await client.sees(/"hm"/);
    says(call, { content: "so" }, running(kind, 3));
    finishes(call, { ...last(3), ...details });
    call.end();
    await client.ended;
    const events = eventsOf(client.text);
    const thought = events.find((event) => event.choices?.[0]?.delta?.reasoning);
    expect(thought.choices[0].delta).toEqual({ reasoning: "hm", reasoning_content: "hm" });
    expect(events.at(-2).usage.completion_tokens_details).toEqual({ reasoning_tokens: 2 });
    const { text } = await run(kind, false, (again) => {
      says(again, { [name]: "hm" });
      says(again, { content: "so" });
      finishes(again, last(3));
      again.end();
    });
    expect(JSON.parse(text).choices[0].message).toMatchObject({
      content: "so",
      reasoning: "hm",
      reasoning_content: "hm",
    });
  });
});

describe("a refusal as the servers were recorded", () => {
  it.each([
    ["vllm", "vllm-0.32/err-long.http"],
    ["sglang", "sglang-0.5/sgl-err-long.http"],
  ] as const)("%s: a prompt that is too long is the 400 that clients look for", async (kind, name) => {
    const said = JSON.parse(new TextDecoder().decode(recorded(name).body));
    const { response, text } = await run(kind, true, (call) => call.refuse(400, said));
    expect(response.status).toBe(400);
    const { error } = JSON.parse(text);
    expect(error).toMatchObject({ code: "context_length_exceeded", param: "messages" });
    expect(error.message).toContain("maximum context length");
  });

  it("SGLang: what names files of the server is not passed on", async () => {
    const said = JSON.parse(new TextDecoder().decode(recorded("sglang-0.5/sgl-err-json.http").body));
    const { response, text } = await run("sglang", true, (call) => call.refuse(400, said));
    expect(response.status).toBe(400);
    expect(text).not.toMatch(/File|redacted|openai_v1/);
  });

  it("SGLang: a full queue that is said inside the stream is a 503 with Retry-After", async () => {
    const { response, generation } = await run("sglang", true, (call) => {
      call.raw(data({ error: { object: "error", message: "The request queue is full.", code: 503 } }));
      call.raw("data: [DONE]\n\n");
      call.end("failed");
    });
    expect(response.status).toBe(503);
    expect(response.headers.get("retry-after")).toBe("2");
    expect(generation).toMatchObject({ ending: "refused", attempts: [{ outcome: "refused" }] });
  });

  it.each([true, false])(
    "vLLM: one that drains sends its requests on, at once (stream: %s)",
    async (stream) => {
      const said = /new (\{.*\})500/.exec(recordedText("vllm-0.32/die-sigterm-drain.txt"))![1]!;
      const drains = await startKind((call) => call.refuse(500, JSON.parse(said)));
      const serves = await startKind((call) => {
        says(call, { content: "Hi" });
        finishes(call, last(1));
        call.end();
      });
      const model = `draining-${stream}`;
      await sell(edge.run, [], model);
      await register(edge.run, drains, `bknd_${model}`, model, "vllm");
      const alone = await ask(edge.run, account.key, hello({ model, stream }));
      expect([alone.status, alone.headers.get("retry-after")]).toEqual([503, "2"]);
      await register(edge.run, serves, `bknd_${model}-other`, model, "vllm");
      for (let i = 0; i < 20; i++) {
        const response = await ask(edge.run, account.key, hello({ model, stream }));
        expect(response.status).toBe(200);
        expect(await response.text()).toContain("Hi");
        expect(response.headers.get("x-causeway-backend")).toBe(`bknd_${model}-other`);
      }
      // And is asked seldom from then on: by chance alone it would be half of them.
      expect(drains.calls.length).toBeLessThan(6);
    },
  );

  it("a storm of 429 is one try a backend, and a 503 that says how long to wait", async () => {
    const model = "stormy";
    const busy: Upstream[] = [];
    await sell(edge.run, [], model);
    for (const kind of KINDS) {
      const upstream = await startKind((call) => call.refuse(429, {}, { "retry-after": "9" }));
      busy.push(upstream);
      await register(edge.run, upstream, `bknd_${model}-${kind}`, model, kind);
    }
    const responses = await Promise.all(
      Array.from({ length: 20 }, () => ask(edge.run, account.key, hello({ model }))),
    );
    const waits = responses.map((response) => Number(response.headers.get("retry-after")));
    expect(new Set(responses.map((response) => response.status))).toEqual(new Set([503]));
    expect(waits).toContain(9);
    expect(waits.every((seconds) => Number.isInteger(seconds) && seconds >= 1 && seconds <= 60)).toBe(true);
    for (const upstream of busy) {
      expect(upstream.calls.length).toBeGreaterThan(0);
      expect(upstream.calls.length).toBeLessThanOrEqual(responses.length);
    }
  });
});
