/**
 * The attempt contract (engine/server/README.md), a test a clause, against a real engine process over HTTP. Whoever
 * writes another engine that the edge may relay can run these against it.
 */
import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type EngineProcess, secret, startEngine } from "../fixtures/engine/process.ts";

let engine: EngineProcess;
beforeAll(async () => {
  engine = await startEngine("--max-sequences", "2");
});
afterAll(() => engine.stop());

interface Report {
  id: string;
  state: string;
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
  finish_reason: string | null;
  boot_id: string;
  model: string | null;
  error: { code: string; message: string } | null;
}

const path = (id: string) => `/causeway/v1/attempts/${id}`;
const json = async (response: Response): Promise<any> => JSON.parse(await response.text());
const get = (id: string) => engine.fetch(path(id));
const report = async (id: string): Promise<Report> => json(await get(id));
const end = async (id: string): Promise<Report> => json(await engine.fetch(`${path(id)}?wait=end`));
const abort = (id: string) => engine.fetch(path(id), { method: "DELETE" });

const short = { messages: [{ role: "user", content: "What is the capital of Italy?" }] };
/** The model repeats itself on this until its context is full: nothing in a test waits for its end. */
const long = { messages: [{ role: "user", content: "ha ".repeat(25) }], temperature: 0 };

function post(
  id: string | undefined,
  body: object,
  headers: Record<string, string> = {},
  signal?: AbortSignal,
) {
  return engine.fetch("/v1/chat/completions", {
    method: "POST",
    headers: { ...(id ? { "x-causeway-attempt-id": id } : {}), ...headers },
    body: JSON.stringify({ model: engine.ready.model, ...body }),
    ...(signal ? { signal } : {}),
  });
}

/** A stream that has given its first bytes. */
async function started(
  id: string,
  body: object = long,
  headers: Record<string, string> = {},
  signal?: AbortSignal,
) {
  const response = await post(id, { stream: true, ...body }, headers, signal);
  expect(response.status).toBe(200);
  const reader = response.body!.getReader();
  const first = await reader.read();
  return { reader, first: new TextDecoder().decode(first.value) };
}

async function rest(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
  let text = "";
  for (let read = await reader.read(); !read.done; read = await reader.read())
    text += new TextDecoder().decode(read.value);
  return text;
}

describe("the bearer", () => {
  it.each([
    ["POST", "/v1/chat/completions"],
    ["GET", "/v1/models"],
    ["GET", path("a")],
    ["GET", `${path("a")}?wait=end`],
    ["DELETE", path("a")],
    ["GET", "/anything"],
  ])("is required by %s %s", async (method, url) => {
    const wrong: Record<string, string>[] = [
      {},
      { authorization: "Bearer wrong" },
      { authorization: `Basic ${secret}` },
      { authorization: secret },
    ];
    for (const headers of wrong) {
      const response = await fetch(engine.url + url, { method, headers });
      expect(response.status).toBe(401);
      expect((await json(response)).error).toMatchObject({
        type: "authentication_error",
        code: "invalid_api_key",
      });
    }
  });

  it("is not required by /health, which says nothing secret", async () => {
    const text = await (await fetch(`${engine.url}/health`)).text();
    expect(JSON.parse(text)).toMatchObject({ status: "ok", boot_id: engine.ready.boot_id });
    expect(text).not.toContain(secret);
  });
});

it("tells a Prometheus server its load and its cache under vLLM's names, without a bearer", async () => {
  const response = await fetch(`${engine.url}/metrics`);
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toContain("text/plain; version=0.0.4");
  const text = await response.text();
  for (const name of [
    "num_requests_running",
    "num_requests_waiting",
    "kv_cache_usage_perc",
    "prefix_cache_queries_total",
    "prefix_cache_hits_total",
    "prompt_tokens_total",
    "generation_tokens_total",
    "time_to_first_token_seconds_count",
    "time_per_output_token_seconds_count",
  ]) {
    expect(text).toMatch(new RegExp(`^causeway:${name}\\{model_name="[^"]+"\\} [0-9.e-]+$`, "m"));
  }
});

describe("GET of an attempt", () => {
  it("not seen answers 404 with the report's shape and state unknown", async () => {
    const response = await get("never.1");
    expect(response.status).toBe(404);
    expect(await json(response)).toEqual({
      id: "never.1",
      state: "unknown",
      prompt_tokens: 0,
      cached_tokens: 0,
      completion_tokens: 0,
      finish_reason: null,
      finish_reasons: null,
      boot_id: engine.ready.boot_id,
      model: engine.ready.model,
      error: null,
    });
  });

  it("before the POST leaves the id free for it", async () => {
    await get("before.1");
    expect((await post("before.1", short)).status).toBe(200);
  });

  it("while it runs gives the prompt's whole count and a count that only grows", async () => {
    const { reader } = await started("grows.1");
    const first = await report("grows.1");
    expect(first).toMatchObject({ state: "running", finish_reason: null, error: null });
    expect(first.prompt_tokens).toBeGreaterThan(0);
    let last = first.completion_tokens;
    while (last < first.completion_tokens + 3) {
      const { completion_tokens: now } = await report("grows.1");
      expect(now).toBeGreaterThanOrEqual(last);
      last = now;
    }
    await reader.cancel();
  });

  it("that has ended gives the counts of its usage, the same at every asking", async () => {
    const answer = await json(await post("ended.1", short));
    const first = await report("ended.1");
    expect(first).toMatchObject({
      state: "done",
      finish_reason: answer.choices[0].finish_reason,
      prompt_tokens: answer.usage.prompt_tokens,
      completion_tokens: answer.usage.completion_tokens,
      error: null,
    });
    expect(await report("ended.1")).toEqual(first);
    expect(await end("ended.1")).toEqual(first);
  });

  it("of another process says unknown under another boot id", async () => {
    await post("restart.1", short);
    const other = await startEngine();
    try {
      const after = await json(await other.fetch(path("restart.1")));
      expect(after.state).toBe("unknown");
      expect(after.boot_id).not.toBe((await report("restart.1")).boot_id);
    } finally {
      await other.stop();
    }
  });

  it("with an id that cannot be is a 400", async () => {
    for (const id of ["a%20b", "a".repeat(101), "%F0%9F%92%A9"]) expect((await get(id)).status).toBe(400);
  });
});

describe("wait=end", () => {
  it("answers its headers at once and the report when the attempt ends", async () => {
    const { reader } = await started("wait.1");
    const waiting = await engine.fetch(`${path("wait.1")}?wait=end`);
    expect(waiting.status).toBe(200);
    expect(await report("wait.1")).toMatchObject({ state: "running" });
    const aborted = await json(await abort("wait.1"));
    expect(await json(waiting)).toEqual(aborted);
    await reader.cancel().catch(() => {});
  });

  it("may be asked before the POST", async () => {
    const waiting = await engine.fetch(`${path("wait.2")}?wait=end`);
    const answer = await json(await post("wait.2", short));
    expect(await json(waiting)).toMatchObject({
      state: "done",
      completion_tokens: answer.usage.completion_tokens,
    });
  });

  it("of an id that does not come says unknown after five seconds", async () => {
    const waiting = await engine.fetch(`${path("wait.3")}?wait=end`);
    expect(waiting.status).toBe(200);
    expect(await json(waiting)).toMatchObject({ id: "wait.3", state: "unknown" });
  });

  it("of many at once gives each its own", async () => {
    const ids = Array.from({ length: 12 }, (_, i) => `many.${i}`);
    const waiting = ids.map(end);
    await Promise.all(ids.map((id, i) => post(id, { ...short, max_tokens: i + 1 })));
    const reports = await Promise.all(waiting);
    expect(reports.map(({ id }) => id)).toEqual(ids);
    expect(reports.map((each) => each.completion_tokens)).toEqual(ids.map((_, i) => i + 1));
  });
});

describe("DELETE", () => {
  it("answers the final count of a running attempt, and its stream ends with an error event", async () => {
    const { reader } = await started("delete.1");
    const response = await abort("delete.1");
    expect(response.status).toBe(200);
    const final: Report = await json(response);
    expect(final).toMatchObject({ state: "aborted", finish_reason: null, error: { code: "aborted" } });
    expect(final.completion_tokens).toBeGreaterThan(0);
    const text = await rest(reader);
    expect(text).toContain('"error"');
    expect(text).not.toContain("[DONE]");
    expect(await report("delete.1")).toEqual(final);
  });

  it("is idempotent", async () => {
    const { reader } = await started("delete.2");
    const first = await json(await abort("delete.2"));
    const second = await abort("delete.2");
    expect(second.status).toBe(200);
    expect(await json(second)).toEqual(first);
    await reader.cancel().catch(() => {});
  });

  it("changes nothing about an attempt that is done", async () => {
    await post("delete.3", short);
    const done = await report("delete.3");
    expect(await json(await abort("delete.3"))).toEqual(done);
  });

  it("before the POST refuses it", async () => {
    expect(await json(await abort("delete.4"))).toMatchObject({
      state: "aborted",
      prompt_tokens: 0,
      completion_tokens: 0,
    });
    expect(await json(await abort("delete.4"))).toMatchObject({ state: "aborted" });
    const response = await post("delete.4", short);
    expect(response.status).toBe(409);
    expect((await json(response)).error.code).toBe("attempt_aborted");
    expect(await report("delete.4")).toMatchObject({ state: "aborted", completion_tokens: 0 });
  });

  it("of a waiting attempt answers its POST with 409 and costs nothing", async () => {
    const runners = await Promise.all([started("busy.1"), started("busy.2")]);
    const pending = post("delete.5", short);
    while ((await report("delete.5")).state === "unknown");
    expect(await report("delete.5")).toMatchObject({ state: "queued", prompt_tokens: 0 });
    expect(await json(await abort("delete.5"))).toMatchObject({
      state: "aborted",
      prompt_tokens: 0,
      completion_tokens: 0,
    });
    const response = await pending;
    expect(response.status).toBe(409);
    expect((await json(response)).error.code).toBe("attempt_aborted");
    for (const { reader } of runners) await reader.cancel();
  });
});

describe("an attempt id", () => {
  it("is taken once: while it runs, and when it is done", async () => {
    const { reader } = await started("twice.1");
    const running = await post("twice.1", short);
    expect(running.status).toBe(409);
    expect((await json(running)).error.code).toBe("attempt_exists");
    await reader.cancel();
    await end("twice.1");
    await post("twice.2", short);
    const done = await report("twice.2");
    expect((await post("twice.2", short)).status).toBe(409);
    expect(await report("twice.2")).toEqual(done);
  });

  it("of a refused request stays free", async () => {
    expect((await post("free.1", { ...short, max_tokens: 0 })).status).toBe(400);
    expect((await post("free.1", { ...short, model: "other" })).status).toBe(404);
    expect((await get("free.1")).status).toBe(404);
    expect((await post("free.1", short)).status).toBe(200);
  });

  it("is made up where there is none, and told", async () => {
    const response = await post(undefined, short);
    const id = response.headers.get("x-causeway-attempt-id")!;
    expect(id).toMatch(/^req_[0-9a-f]+$/);
    await response.text();
    expect(await report(id)).toMatchObject({ state: "done" });
  });
});

describe("a stream", () => {
  it("with the edge's tail has deltas only, ends cleanly, and its report is final by then", async () => {
    const headers = {
      "x-causeway-tail": "edge",
      "x-causeway-answer-id": "chatcmpl-X",
      "x-causeway-answer-model": "m",
    };
    const { reader, first } = await started("tail.1", short, {
      ...headers,
      "x-causeway-answer-created": "7",
    });
    const text = first + (await rest(reader));
    expect(await report("tail.1")).toMatchObject({ state: "done", finish_reason: "stop" });
    const chunks = text
      .split("\n\n")
      .filter((event) => event && event !== ": at work")
      .map((event) => JSON.parse(event.replace(/^data: /, "")));
    for (const chunk of chunks) {
      expect(chunk).toMatchObject({
        id: "chatcmpl-X",
        model: "m",
        created: 7,
        object: "chat.completion.chunk",
      });
      expect(chunk.choices[0].finish_reason).toBeNull();
      expect(chunk.usage).toBeUndefined();
    }
    expect(chunks.map((chunk) => chunk.choices[0].delta.content).join("")).toBe(
      "The capital of Italy is Rome.",
    );
  });

  it("is events and comments, each whole, and the only comment says that the engine is at work", async () => {
    const { reader, first } = await started("comments.1", { ...long, max_tokens: 64 });
    for (const event of (first + (await rest(reader))).split("\n\n").filter(Boolean)) {
      expect(event).toMatch(/^(data: .+|: at work)$/);
    }
  });

  it("with the edge's tail that is aborted does not end cleanly", async () => {
    const { reader } = await started("tail.2", long, { "x-causeway-tail": "edge" });
    await abort("tail.2");
    await expect(rest(reader)).rejects.toThrow();
  });

  it("whose client leaves is aborted, and the count is what had been generated", async () => {
    const leaving = new AbortController();
    await started("leave.1", long, {}, leaving.signal);
    const waiting = end("leave.1");
    const before = await report("leave.1");
    leaving.abort();
    const final = await waiting;
    expect(final).toMatchObject({ state: "aborted", error: { code: "client_closed" } });
    expect(final.completion_tokens).toBeGreaterThanOrEqual(before.completion_tokens);
    expect(await report("leave.1")).toEqual(final);
  });

  it("whose client's connection breaks is aborted as well", async () => {
    const socket = connect(engine.ready.port, "127.0.0.1");
    const body = JSON.stringify({ model: engine.ready.model, stream: true, ...long });
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: e\r\nauthorization: Bearer ${secret}\r\n` +
        `x-causeway-attempt-id: leave.2\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
    await once(socket, "data");
    socket.resetAndDestroy();
    expect(await end("leave.2")).toMatchObject({ state: "aborted", error: { code: "client_closed" } });
  });

  it("that meets its deadline is aborted and says so", async () => {
    const { reader } = await started("deadline.1", long, { "x-causeway-deadline-ms": "2000" });
    expect(await rest(reader)).toContain("deadline_exceeded");
    expect(await report("deadline.1")).toMatchObject({
      state: "aborted",
      error: { code: "deadline_exceeded" },
    });
  });

  it("of tool calls carries them as deltas with the edge's tail, and the report says that they were the end", async () => {
    const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
    const description = "Get the current weather for a city.";
    const tools = [{ type: "function", function: { name: "get_weather", description, parameters } }];
    const messages = [{ role: "user", content: "What is the weather in Rome?" }];
    const { reader, first } = await started("tools.1", { messages, tools }, { "x-causeway-tail": "edge" });
    const text = first + (await rest(reader));
    expect(await report("tools.1")).toMatchObject({
      state: "done",
      finish_reason: "tool_calls",
      finish_reasons: ["tool_calls"],
    });
    const deltas = text
      .split("\n\n")
      .filter((event) => event && event !== ": at work")
      .flatMap((event) => JSON.parse(event.replace(/^data: /, "")).choices[0].delta.tool_calls ?? []);
    expect(deltas[0]).toEqual({
      index: 0,
      id: expect.stringMatching(/^call_/),
      type: "function",
      function: { name: "get_weather", arguments: "" },
    });
    expect(deltas.map((delta) => delta.function.arguments).join("")).toBe('{"city":"Rome"}');
  });
});

describe("cached tokens", () => {
  const turns = (answer: string) => [
    ...short.messages,
    { role: "assistant", content: answer },
    { role: "user", content: "And what is a token?" },
  ];
  const salt = (name: string) => ({ "x-causeway-cache-salt": name });

  it("of a second turn are the whole blocks of the first, in report and usage, and for its salt alone", async () => {
    const first = await json(await post("cache.1", short, salt("acct_1")));
    expect(await report("cache.1")).toMatchObject({ cached_tokens: 0 });
    const messages = turns(first.choices[0].message.content);
    const second = await json(await post("cache.2", { messages }, salt("acct_1")));
    const { cached_tokens, prompt_tokens } = await report("cache.2");
    expect(cached_tokens).toBeGreaterThanOrEqual(16 * Math.floor(first.usage.prompt_tokens / 16));
    expect(cached_tokens % 16).toBe(0);
    expect(second.usage).toMatchObject({ prompt_tokens, prompt_tokens_details: { cached_tokens } });
    const other = await json(await post("cache.3", { messages }, salt("acct_2")));
    expect(other.usage.prompt_tokens_details.cached_tokens).toBe(0);
    expect(other.choices[0].message).toEqual(second.choices[0].message);
  });

  it("never include the prompt's last token", async () => {
    await post("cache.4", short, salt("acct_3"));
    const again = await json(await post("cache.5", short, salt("acct_3")));
    const { prompt_tokens, prompt_tokens_details } = again.usage;
    expect(prompt_tokens_details.cached_tokens).toBe(16 * Math.floor((prompt_tokens - 1) / 16));
  });
});

describe("eight clients at once", () => {
  /** Streams of every kind, short and long, greedy and sampled. */
  const requests = [
    { messages: [{ role: "user", content: "What is the capital of Italy?" }] },
    { messages: [{ role: "user", content: "Tell me of the sea." }], temperature: 1.8, seed: 1 },
    { messages: [{ role: "user", content: "Tell me of the sea." }], temperature: 1.8, seed: 2 },
    { messages: [{ role: "user", content: "Explain multi-head latent attention." }], temperature: 0.7, top_p: 0.9, seed: 3 },
    { messages: [{ role: "user", content: "What is a token? ".repeat(40) }], temperature: 1.5, top_k: 20, seed: 4 },
    { messages: [{ role: "user", content: "ha ".repeat(25) }], temperature: 0, max_tokens: 120 },
    { messages: [{ role: "user", content: "Hello" }], n: 3, temperature: 1, seed: 5 },
    { messages: [{ role: "user", content: "Hello" }], presence_penalty: 1, frequency_penalty: 1, stop: [" a"] },
  ]; // biome-ignore format: a table
  let other: EngineProcess;
  beforeAll(async () => {
    other = await startEngine("--max-sequences", "8", "--threads", "2");
  });
  afterAll(() => other.stop());

  async function ask(request: object): Promise<string[]> {
    const response = await other.fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "x-causeway-answer-id": "a", "x-causeway-answer-created": "1" },
      body: JSON.stringify({ model: other.ready.model, stream: true, max_tokens: 60, ...request }),
    });
    const events = (await response.text()).split("\n\n").filter((event) => event && event !== ": at work");
    // Of n choices each has its order; how they are interleaved depends on who else waits.
    return events.toSorted((a, b) => choiceOf(a) - choiceOf(b));
  }

  const choiceOf = (event: string) =>
    event === "data: [DONE]" ? 99 : JSON.parse(event.slice("data: ".length)).choices[0].index;

  it("each get the stream that they have alone, event by event", async () => {
    const together = await Promise.all(requests.map(ask));
    for (const [i, request] of requests.entries()) {
      expect(await ask(request)).toEqual(together[i]);
      expect(together[i].length).toBeGreaterThan(3);
    }
    // Other seeds, other texts.
    expect(together[1]).not.toEqual(together[2]);
  });

  it("that leave take nothing from those who stay", async () => {
    const alone = await ask(requests[5]);
    const leaving = new AbortController();
    const others = requests.slice(0, 5).map((request) =>
      other.fetch("/v1/chat/completions", {
        method: "POST",
        body: JSON.stringify({ model: other.ready.model, stream: true, ...request }),
        signal: leaving.signal,
      }),
    );
    const staying = ask(requests[5]);
    await others[0];
    leaving.abort();
    await Promise.allSettled(others);
    expect(await staying).toEqual(alone);
  });
});

it("leaves nothing running behind", async () => {
  const health = await json(await fetch(`${engine.url}/health`));
  expect(health).toMatchObject({ status: "ok", running: 0, waiting: 0 });
});
