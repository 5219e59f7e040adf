import { once } from "node:events";
import type { Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Engine, type LoadedModel, loadModel } from "./engine.ts";
import { createEngineServer } from "./http.ts";

const secret = "a-secret-of-tests";
const folder = new URL("../model", import.meta.url).pathname;

/** Lets the scheduler's turns happen freely, or one by one. */
class Gate {
  #held = false;
  #waiting: (() => void) | undefined;

  readonly between = async (): Promise<void> => {
    if (this.#held) await new Promise<void>((resolve) => (this.#waiting = resolve));
    else await new Promise<void>((resolve) => setImmediate(resolve));
  };

  hold(): void {
    this.#held = true;
  }

  /** One turn, to its end. */
  async turn(): Promise<void> {
    while (!this.#waiting) await new Promise((resolve) => setImmediate(resolve));
    const release = this.#waiting;
    this.#waiting = undefined;
    release();
    await new Promise((resolve) => setImmediate(resolve));
  }

  open(): void {
    this.#held = false;
    this.#waiting?.();
    this.#waiting = undefined;
  }
}

const gate = new Gate();
let model: LoadedModel;
let engine: Engine;
let server: Server;
let url: string;

beforeAll(async () => {
  const limits = { maxSequences: 4, maxQueue: 2, cacheBytes: 64 * 1024 * 1024 };
  const settings = { folder, name: undefined, ...limits, weights: "f32", threads: 1 } as const;
  model = await loadModel(settings, () => {}, gate.between);
});

beforeEach(async () => {
  gate.open();
  engine = new Engine("test");
  engine.serve(model);
  server = createEngineServer(engine, secret).listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(async () => {
  for (const attempt of engine.attempts.open()) attempt.abort({ code: "aborted", message: "" });
  server.closeAllConnections();
  server.close();
  await once(server, "close");
});

const question = { model: "causeway-probe", messages: [{ role: "user", content: "What is Causeway?" }] };

function post(
  body: object | string,
  headers: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<Response> {
  return fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${secret}`, ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });
}

async function ask(method: string, path: string) {
  const response = await fetch(url + path, { method, headers: { authorization: `Bearer ${secret}` } });
  return { status: response.status, body: (await response.json()) as any };
}

const report = async (id: string) => (await ask("GET", `/causeway/v1/attempts/${id}`)).body;

/** The events of a stream's text. */
function events(text: string): any[] {
  return text
    .split("\n\n")
    .filter((event) => event && event !== ": at work")
    .map((event) => {
      expect(event.startsWith("data: ")).toBe(true);
      return event === "data: [DONE]" ? "[DONE]" : JSON.parse(event.slice("data: ".length));
    });
}

const textOf = (chunks: any[]) => chunks.map((chunk) => chunk.choices?.[0]?.delta?.content ?? "").join("");

async function streamed(body: object, headers: Record<string, string> = {}): Promise<any[]> {
  const response = await post({ ...question, ...body, stream: true }, headers);
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  return events(await response.text());
}

async function whole(body: object, headers: Record<string, string> = {}): Promise<any> {
  const response = await post({ ...question, ...body }, headers);
  expect(response.status).toBe(200);
  return response.json();
}

describe("a stream", () => {
  it("begins with the role, carries the text, ends with the reason and [DONE]", async () => {
    const all = await streamed({});
    expect(all[0].choices[0]).toEqual({
      index: 0,
      delta: { role: "assistant", content: "" },
      logprobs: null,
      finish_reason: null,
    });
    expect(all.at(-2).choices[0]).toEqual({ index: 0, delta: {}, logprobs: null, finish_reason: "stop" });
    expect(all.at(-1)).toBe("[DONE]");
    expect(textOf(all)).toMatch(/^A Causeway is a serverless edge inference platform\./);
    for (const chunk of all.slice(0, -1)) {
      expect(chunk).toMatchObject({
        id: all[0].id,
        object: "chat.completion.chunk",
        model: "causeway-probe",
      });
      expect(chunk).not.toHaveProperty("usage");
    }
  });

  it("has a usage chunk when asked, the same as the report", async () => {
    const all = await streamed(
      { stream_options: { include_usage: true } },
      { "x-causeway-attempt-id": "u.1" },
    );
    const { prompt_tokens, cached_tokens, completion_tokens, state } = await report("u.1");
    expect(state).toBe("done");
    expect(all.at(-2)).toMatchObject({
      choices: [],
      usage: {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens + completion_tokens,
        prompt_tokens_details: { cached_tokens },
      },
    });
    expect(all[0].usage).toBeNull();
  });

  it("is stamped as its headers say", async () => {
    const stamp = { id: "chatcmpl-01J", model: "a model", created: 1_700_000_000 };
    const all = await streamed(
      { max_tokens: 3 },
      {
        "x-causeway-answer-id": stamp.id,
        "x-causeway-answer-model": stamp.model,
        "x-causeway-answer-created": `${stamp.created}`,
      },
    );
    for (const chunk of all.slice(0, -1)) expect(chunk).toMatchObject(stamp);
  });

  it("has a chunk for each token, at once: the first arrives before the second is computed", async () => {
    gate.hold();
    const pending = post(
      { ...question, stream: true, max_tokens: 20 },
      { "x-causeway-attempt-id": "first.1" },
    );
    await gate.turn();
    const reader = (await pending).body!.getReader();
    const first = new TextDecoder().decode((await reader.read()).value);
    expect(first).toContain('"role":"assistant"');
    expect(await report("first.1")).toMatchObject({ state: "running", completion_tokens: 1 });
    for (let tokens = 2; tokens <= 5; tokens++) {
      await gate.turn();
      expect(events(new TextDecoder().decode((await reader.read()).value))).toHaveLength(1);
      expect(await report("first.1")).toMatchObject({ completion_tokens: tokens });
    }
    await reader.cancel();
  });

  it("gets a comment for each second that passes without a token", async () => {
    gate.hold();
    const pending = post({ ...question, stream: true }, { "x-causeway-tail": "edge" });
    await gate.turn();
    const reader = (await pending).body!.getReader();
    await reader.read();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe(": at work\n\n");
    expect(new TextDecoder().decode((await reader.read()).value)).toBe(": at work\n\n");
    await reader.cancel();
  });

  it("writes no byte before the first token", async () => {
    gate.hold();
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    let received = "";
    socket.on("data", (data) => (received += data));
    const body = JSON.stringify({ ...question, stream: true });
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: engine\r\nauthorization: Bearer ${secret}\r\n` +
        `x-causeway-attempt-id: silent.1\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    while ((await report("silent.1")).state === "unknown");
    expect(await report("silent.1")).toMatchObject({ state: "queued", prompt_tokens: 0 });
    expect(received).toBe("");
    await gate.turn();
    while (!received.includes("\n\n")) await once(socket, "data");
    expect(received).toContain("HTTP/1.1 200 OK");
    socket.destroy();
  });

  it("with the edge's tail just ends after its last delta", async () => {
    const plain = await streamed({ max_tokens: 12, stream_options: { include_usage: true } });
    const bare = await streamed(
      { max_tokens: 12, stream_options: { include_usage: true } },
      { "x-causeway-tail": "edge", "x-causeway-attempt-id": "tail.1" },
    );
    expect(textOf(bare)).toBe(textOf(plain));
    for (const chunk of bare) {
      expect(chunk.choices[0].finish_reason).toBeNull();
      expect(chunk).not.toHaveProperty("usage");
    }
    expect(await report("tail.1")).toMatchObject({
      state: "done",
      finish_reason: "length",
      completion_tokens: 12,
    });
  });
});

describe("a whole answer", () => {
  it("has the stream's text and the report's counts", async () => {
    const answer = await whole({}, { "x-causeway-attempt-id": "whole.1" });
    const { prompt_tokens, completion_tokens } = await report("whole.1");
    expect(answer).toMatchObject({
      object: "chat.completion",
      model: "causeway-probe",
      choices: [{ index: 0, message: { role: "assistant" }, finish_reason: "stop" }],
      usage: { prompt_tokens, completion_tokens },
    });
    expect(answer.choices[0].message.content).toBe(textOf(await streamed({})));
  });

  it("counts the end-of-sequence token", async () => {
    const { usage } = await whole({});
    const limited = await whole({ max_tokens: usage.completion_tokens - 1 });
    const exact = await whole({ max_tokens: usage.completion_tokens });
    expect(limited.choices[0].finish_reason).toBe("length");
    expect(exact.choices[0].finish_reason).toBe("stop");
    expect(exact.choices[0].message.content).toBe(limited.choices[0].message.content);
  });

  it("ends before a stop string, wherever tokens divide it", async () => {
    const stopped = await whole({ stop: ["edge inf", "never"] });
    expect(stopped.choices[0]).toMatchObject({
      message: { content: "A Causeway is a serverless " },
      finish_reason: "stop",
    });
    expect(textOf(await streamed({ stop: "edge inf" }))).toBe("A Causeway is a serverless ");
  });

  it("takes max_completion_tokens before max_tokens", async () => {
    const { usage } = await whole({ max_completion_tokens: 3, max_tokens: 9 });
    expect(usage.completion_tokens).toBe(3);
  });

  it("takes content in parts, developer messages, and a history with tool calls", async () => {
    const parts = [
      { type: "text", text: "What is " },
      { type: "text", text: "Causeway?" },
    ];
    const answer = await whole({ messages: [{ role: "user", content: parts }] });
    expect(answer.choices[0].message.content).toMatch(/^A Causeway/);
    const call = { id: "c", type: "function", function: { name: "f", arguments: "{}" } };
    await whole({
      max_tokens: 2,
      messages: [
        { role: "developer", content: "Be short." },
        { role: "user", content: "Weather?" },
        { role: "assistant", content: null, tool_calls: [call] },
        { role: "tool", tool_call_id: "c", content: "{}" },
      ],
    });
  });
});

describe("sampling", () => {
  const warm = { temperature: 2, top_p: 0.99, max_tokens: 24 };
  const content = (answer: any) => answer.choices[0].message.content;

  it("gives the same text for the same seed, whatever else runs", async () => {
    const alone = content(await whole({ ...warm, seed: 7 }));
    const crowd = [1, 2, 3].map((seed) => whole({ ...warm, seed }));
    expect(content(await whole({ ...warm, seed: 7 }))).toBe(alone);
    expect(new Set((await Promise.all(crowd)).map(content)).add(alone).size).toBeGreaterThan(1);
  });

  it("takes top_k and penalties", async () => {
    const settings = { max_tokens: 24, seed: 7 };
    const greedy = content(await whole(settings));
    expect(content(await whole({ ...settings, temperature: 2, top_k: 1 }))).toBe(greedy);
    expect(content(await whole({ ...settings, temperature: 0, top_k: -1, presence_penalty: 0 }))).toBe(
      greedy,
    );
    expect(content(await whole({ ...settings, frequency_penalty: 2, presence_penalty: 2 }))).not.toBe(greedy);
  });

  it("gives n answers, the first of them as if it were alone, and counts the tokens of all", async () => {
    const salt = { "x-causeway-cache-salt": "acct_n", "x-causeway-attempt-id": "n.1" };
    const answer = await whole({ ...warm, seed: 7, n: 3 }, salt);
    expect(answer.choices.map((choice: any) => choice.index)).toEqual([0, 1, 2]);
    expect(answer.choices[0].message.content).toBe(content(await whole({ ...warm, seed: 7 })));
    expect(new Set(answer.choices.map((choice: any) => choice.message.content)).size).toBe(3);
    const alone = await Promise.all([7, 8, 9].map((seed) => whole({ ...warm, seed })));
    expect(answer.choices.map((choice: any) => choice.message.content)).toEqual(alone.map(content));
    const { prompt_tokens, completion_tokens } = answer.usage;
    expect(completion_tokens).toBe(alone.reduce((sum, { usage }) => sum + usage.completion_tokens, 0));
    expect(prompt_tokens).toBe(alone[0].usage.prompt_tokens);
    expect(await report("n.1")).toMatchObject({ prompt_tokens, cached_tokens: 0, completion_tokens });
  });

  it("streams n answers, each with its role, its text and its end, and one [DONE]", async () => {
    const all = await streamed({ ...warm, seed: 7, n: 2 });
    const chunks = all.slice(0, -1);
    expect(all.at(-1)).toBe("[DONE]");
    const answer = await whole({ ...warm, seed: 7, n: 2 });
    for (const index of [0, 1]) {
      const own = chunks.filter((chunk) => chunk.choices[0].index === index);
      expect(own[0].choices[0].delta).toEqual({ role: "assistant", content: "" });
      expect(own.filter((chunk) => chunk.choices[0].finish_reason !== null)).toHaveLength(1);
      expect(own.at(-1).choices[0].finish_reason).toBe(answer.choices[index].finish_reason);
      expect(textOf(own)).toBe(answer.choices[index].message.content);
    }
  });

  it("of n answers ends with the client of them all", async () => {
    gate.hold();
    const leaving = new AbortController();
    const headers = { "x-causeway-attempt-id": "n.2" };
    const pending = post({ ...question, stream: true, n: 3 }, headers, leaving.signal);
    await gate.turn();
    await (await pending).body!.getReader().read();
    await gate.turn();
    leaving.abort();
    expect((await ask("GET", "/causeway/v1/attempts/n.2?wait=end")).body).toMatchObject({ state: "aborted" });
    expect([model.scheduler.running, model.scheduler.waiting, model.cache.reservedBytes]).toEqual([0, 0, 0]);
  });

  it("is greedy where neither the request nor the checkpoint says otherwise", async () => {
    expect(content(await whole({ max_tokens: 24 }))).toBe(
      content(await whole({ max_tokens: 24, temperature: 0 })),
    );
  });
});

describe("tools", () => {
  const functionOf = (name: string, description: string) => ({
    type: "function",
    function: {
      name,
      description,
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  });
  const weather = functionOf("get_weather", "Get the current weather for a city.");
  const hotel = functionOf("find_hotel", "Find a hotel in a city.");
  const inRome = {
    messages: [{ role: "user", content: "What is the weather in Rome?" }],
    tools: [weather, hotel],
  };
  const romeCall = (name: string) => ({
    id: expect.stringMatching(/^call_[0-9a-f]{24}$/),
    type: "function",
    function: { name, arguments: '{"city":"Rome"}' },
  });

  it("are called where the model thinks fit", async () => {
    const answer = await whole(inRome, { "x-causeway-attempt-id": "tool.1" });
    expect(answer.choices).toEqual([
      {
        index: 0,
        message: { role: "assistant", content: null, refusal: null, tool_calls: [romeCall("get_weather")] },
        logprobs: null,
        finish_reason: "tool_calls",
      },
    ]);
    expect(await report("tool.1")).toMatchObject({ state: "done", finish_reason: "tool_calls" });
    const about = await whole({ ...inRome, messages: question.messages });
    expect(about.choices[0]).toMatchObject({
      message: { content: expect.stringContaining("serverless") },
      finish_reason: "stop",
    });
    expect(about.choices[0].message).not.toHaveProperty("tool_calls");
  });

  it.each([
    ["required", "get_weather"],
    [{ type: "function", function: { name: "find_hotel" } }, "find_hotel"],
  ])("are called where tool_choice is %j", async (tool_choice, name) => {
    const { choices } = await whole({ ...inRome, tool_choice });
    expect(choices[0]).toMatchObject({
      message: { tool_calls: [romeCall(name)] },
      finish_reason: "tool_calls",
    });
    const forced = await whole({ ...inRome, messages: question.messages, tool_choice });
    const names = [weather, hotel].map((tool) => tool.function.name);
    expect(names).toContain(forced.choices[0].message.tool_calls[0].function.name);
  });

  it("are not called where tool_choice is none", async () => {
    const { choices } = await whole({ ...inRome, tool_choice: "none" });
    expect(choices[0]).toMatchObject({ message: { content: expect.any(String) }, finish_reason: "stop" });
    expect(choices[0].message).not.toHaveProperty("tool_calls");
  });

  it("of types that a model cannot call are left out", async () => {
    const others = [{ type: "web_search" }, { type: "namespace", name: "x" }];
    const { choices } = await whole({ ...inRome, tools: [...others, ...inRome.tools] });
    expect(choices[0].message.tool_calls).toEqual([romeCall("get_weather")]);
    expect((await whole({ tools: others, max_tokens: 2 })).usage.prompt_tokens).toBe(
      (await whole({ max_tokens: 2 })).usage.prompt_tokens,
    );
  });

  it.each([
    ["tool.2", {}, ["tool_calls"]],
    ["tool.3", { "x-causeway-tail": "edge" }, []],
  ])("are streamed as deltas (%s, %j)", async (id, headers, reasons) => {
    const all = await streamed(inRome, { ...headers, "x-causeway-attempt-id": id });
    const deltas = all.flatMap((chunk) => chunk.choices?.[0]?.delta?.tool_calls ?? []);
    expect(deltas[0]).toEqual({
      index: 0,
      ...romeCall("get_weather"),
      function: { name: "get_weather", arguments: "" },
    });
    for (const delta of deltas.slice(1)) {
      expect(delta).toEqual({ index: 0, function: { arguments: expect.any(String) } });
    }
    expect(deltas.map((delta) => delta.function.arguments).join("")).toBe('{"city":"Rome"}');
    expect(textOf(all)).toBe("");
    const ends = all.flatMap((chunk) => chunk.choices?.[0]?.finish_reason ?? []);
    expect(ends).toEqual(reasons);
    expect(await report(id)).toMatchObject({ finish_reason: "tool_calls" });
  });

  it("cut off by max_tokens end with length", async () => {
    const { usage } = await whole(inRome);
    const cut = await whole({ ...inRome, max_tokens: usage.completion_tokens - 4 });
    expect(cut.choices[0]).toMatchObject({ message: { tool_calls: [{}] }, finish_reason: "length" });
  });

  it("that were called are in the history of the next turn, with what they gave", async () => {
    const first = await whole(inRome);
    const call = first.choices[0].message;
    const result = {
      role: "tool",
      tool_call_id: call.tool_calls[0].id,
      content: '{"temperature":21,"sky":"clear"}',
    };
    const second = await whole({ ...inRome, messages: [...inRome.messages, call, result] });
    // The second prompt is the first, the call as the model wrote it, and the result.
    expect(second.usage.prompt_tokens_details.cached_tokens).toBe(
      16 * Math.floor((first.usage.total_tokens - 1) / 16),
    );
    expect(second.choices[0].message.content).toContain("21");
  });
});

describe("the prefix cache", () => {
  const turns = (answer: string) => [
    ...question.messages,
    { role: "assistant", content: answer },
    { role: "user", content: "What is a token?" },
  ];
  const cached = (usage: any) => usage.prompt_tokens_details.cached_tokens;

  it("saves the second turn the whole blocks of the first, and usage, stream and report say so", async () => {
    const salt = { "x-causeway-cache-salt": "acct_turns" };
    const first = await whole({}, salt);
    expect(cached(first.usage)).toBe(0);
    const messages = turns(first.choices[0].message.content);
    const before = model.scheduler.totals.tokens;
    const second = await whole({ messages }, { ...salt, "x-causeway-attempt-id": "turn.2" });
    // The rest of the prompt, and the answer but for its last token.
    const { prompt_tokens, completion_tokens } = second.usage;
    const computed = model.scheduler.totals.tokens - before;
    expect(computed).toBe(prompt_tokens - cached(second.usage) + completion_tokens - 1);
    // The prompt, the answer and its end token, less what does not fill a block.
    expect(cached(second.usage)).toBeGreaterThanOrEqual(16 * Math.floor(first.usage.prompt_tokens / 16));
    expect(cached(second.usage)).toBe(16 * Math.floor((first.usage.total_tokens - 1) / 16));
    expect((await report("turn.2")).cached_tokens).toBe(cached(second.usage));

    const other = await whole({ messages }, { "x-causeway-cache-salt": "acct_other" });
    expect(cached(other.usage)).toBe(0);
    expect(other.choices[0].message.content).toBe(second.choices[0].message.content);

    const again = await streamed({ messages, stream_options: { include_usage: true } }, salt);
    const { usage } = again.at(-2);
    expect(cached(usage)).toBe(16 * Math.floor((usage.prompt_tokens - 1) / 16));
    expect(textOf(again)).toBe(second.choices[0].message.content);
  });

  it("takes back an aborted attempt's place and memory before its next step, and keeps what it computed", async () => {
    gate.hold();
    const headers = { "x-causeway-attempt-id": "abort.1", "x-causeway-cache-salt": "acct_abort" };
    const pending = post({ ...question, stream: true }, headers);
    await gate.turn();
    await pending;
    expect(model.cache.reservedBytes).toBeGreaterThan(0);
    expect(model.scheduler.running).toBe(1);
    await ask("DELETE", "/causeway/v1/attempts/abort.1");
    expect([model.cache.reservedBytes, model.scheduler.running]).toEqual([0, 0]);
    gate.open();
    const { usage } = await whole({ max_tokens: 1 }, { "x-causeway-cache-salt": "acct_abort" });
    expect(cached(usage)).toBe(16 * Math.floor((usage.prompt_tokens - 1) / 16));
  });
});

describe("an abort", () => {
  it("by a client that leaves in the middle reaches the attempt before its next token", async () => {
    gate.hold();
    const leaving = new AbortController();
    const pending = post(
      { ...question, stream: true },
      { "x-causeway-attempt-id": "leave.1" },
      leaving.signal,
    );
    await gate.turn();
    await (await pending).body!.getReader().read();
    await gate.turn();
    leaving.abort();
    const ended = await ask("GET", "/causeway/v1/attempts/leave.1?wait=end");
    expect(ended.body).toMatchObject({
      state: "aborted",
      completion_tokens: 2,
      error: { code: "client_closed" },
    });
    expect(model.scheduler.running).toBe(0);
  });

  it("by a client that leaves before the first token costs no prompt", async () => {
    gate.hold();
    const leaving = new AbortController();
    const pending = post(question, { "x-causeway-attempt-id": "early.1" }, leaving.signal);
    while ((await report("early.1")).state === "unknown");
    leaving.abort();
    await expect(pending).rejects.toThrow();
    const ended = await ask("GET", "/causeway/v1/attempts/early.1?wait=end");
    expect(ended.body).toMatchObject({ state: "aborted", prompt_tokens: 0, completion_tokens: 0 });
  });

  it("by DELETE ends the stream with an error event and no [DONE]", async () => {
    gate.hold();
    const pending = post({ ...question, stream: true }, { "x-causeway-attempt-id": "delete.1" });
    await gate.turn();
    const response = await pending;
    const { body } = await ask("DELETE", "/causeway/v1/attempts/delete.1");
    expect(body).toMatchObject({ state: "aborted", completion_tokens: 1, error: { code: "aborted" } });
    const all = events(await response.text());
    expect(all.at(-1)).toMatchObject({ error: { code: "attempt_aborted", param: null } });
    expect(await report("delete.1")).toEqual(body);
  });

  it("of a stream with the edge's tail breaks the body off", async () => {
    gate.hold();
    const headers = { "x-causeway-attempt-id": "broken.1", "x-causeway-tail": "edge" };
    const pending = post({ ...question, stream: true }, headers);
    await gate.turn();
    const response = await pending;
    await ask("DELETE", "/causeway/v1/attempts/broken.1");
    await expect(response.text()).rejects.toThrow();
  });

  it("by the deadline is a 504 before the first token", async () => {
    gate.hold();
    const response = await post(question, {
      "x-causeway-attempt-id": "late.1",
      "x-causeway-deadline-ms": "1",
    });
    expect(response.status).toBe(504);
    expect(await response.json()).toMatchObject({
      error: { code: "deadline_exceeded", type: "server_error" },
    });
    // It may have passed before the attempt was accepted, or after.
    expect(["unknown", "aborted"]).toContain((await report("late.1")).state);
  });

  it("by the deadline is an error event after the first token", async () => {
    gate.hold();
    const headers = { "x-causeway-attempt-id": "late.2", "x-causeway-deadline-ms": "2000" };
    const pending = post({ ...question, stream: true }, headers);
    await gate.turn();
    const all = events(await (await pending).text());
    expect(all.at(-1)).toMatchObject({ error: { code: "deadline_exceeded" } });
    expect(await report("late.2")).toMatchObject({ state: "aborted", error: { code: "deadline_exceeded" } });
  });
});

describe("a refusal", () => {
  const tooLong = { role: "user", content: "word ".repeat(5_000) };
  const cases: [string, object | string, number, string, string | null][] = [
    ["not JSON", "{", 400, "invalid_json", null],
    ["not UTF-8", "\ud800", 400, "invalid_json", null],
    ["no object", [], 400, "invalid_value", "body"],
    ["no model", { messages: question.messages }, 400, "invalid_value", "model"],
    ["no messages", { model: question.model }, 400, "invalid_value", "messages"],
    ["an empty list of messages", { ...question, messages: [] }, 400, "invalid_value", "messages"],
    ["an unknown role", { ...question, messages: [{ role: "x", content: "" }] }, 400, "invalid_value", "messages[0].role"],
    ["a number as content", { ...question, messages: [{ role: "user", content: 7 }] }, 400, "invalid_value", "messages[0].content"],
    ["an image", { ...question, messages: [{ role: "user", content: [{ type: "image_url" }] }] }, 400, "invalid_value", "messages[0].content"],
    ["max_tokens of 0", { ...question, max_tokens: 0 }, 400, "invalid_value", "max_tokens"],
    ["max_tokens of 2^53", { ...question, max_tokens: 2 ** 53 }, 400, "invalid_value", "max_tokens"],
    ["half a token", { ...question, max_tokens: 1.5 }, 400, "invalid_value", "max_tokens"],
    ["too warm", { ...question, temperature: 2.1 }, 400, "invalid_value", "temperature"],
    ["top_p of 2", { ...question, top_p: 2 }, 400, "invalid_value", "top_p"],
    ["five stop strings", { ...question, stop: ["a", "b", "c", "d", "e"] }, 400, "invalid_value", "stop"],
    ["an empty stop string", { ...question, stop: "" }, 400, "invalid_value", "stop"],
    ["a seed in words", { ...question, seed: "one" }, 400, "invalid_value", "seed"],
    ["stream in words", { ...question, stream: "true" }, 400, "invalid_value", "stream"],
    ["nine answers", { ...question, n: 9 }, 400, "invalid_value", "n"],
    ["a function without a name", { ...question, tools: [{ type: "function" }] }, 400, "invalid_value", "tools[0].function"],
    ["a tool that must be called and is not there", { ...question, tool_choice: "required" }, 400, "invalid_value", "tool_choice"],
    ["a named tool that is not there", { ...question, tool_choice: { type: "function", function: { name: "f" } } }, 400, "invalid_value", "tool_choice"],
    ["half a likeliest token", { ...question, top_k: 0.5 }, 400, "invalid_value", "top_k"],
    ["too high a penalty", { ...question, presence_penalty: 3 }, 400, "invalid_value", "presence_penalty"],
    ["JSON mode", { ...question, response_format: { type: "json_object" } }, 400, "unsupported_parameter", "response_format"],
    ["another model", { ...question, model: "gpt-4o" }, 404, "model_not_found", "model"],
    ["too long a prompt", { ...question, messages: [tooLong] }, 400, "context_length_exceeded", "messages"],
    ["far too long a prompt", { ...question, messages: [{ role: "user", content: "a".repeat(7_000_000) }] }, 400, "context_length_exceeded", "messages"],
  ]; // biome-ignore format: a table

  it.each(cases)("of %s says what is wrong", async (_, body, status, code, param) => {
    const response = await post(body as object, { "x-causeway-attempt-id": "refused.1" });
    expect(response.status).toBe(status);
    const { error } = (await response.json()) as any;
    expect(error).toMatchObject({ type: "invalid_request_error", code, param, message: expect.any(String) });
    if (code === "context_length_exceeded") expect(error.message).toContain("maximum context length");
    expect((await report("refused.1")).state).toBe("unknown");
  });

  it.each([
    ["x-causeway-attempt-id", "a/b"],
    ["x-causeway-attempt-id", "a".repeat(101)],
    ["x-causeway-tail", "none"],
    ["x-causeway-answer-id", "two words"],
    ["x-causeway-answer-model", "m".repeat(201)],
    ["x-causeway-answer-created", "-1"],
    ["x-causeway-cache-salt", "s".repeat(201)],
    ["x-causeway-deadline-ms", "0"],
    ["x-causeway-deadline-ms", "3600001"],
    ["x-causeway-deadline-ms", "1e3"],
  ])("of the header %s: %s names it", async (name, value) => {
    const response = await post(question, { [name]: value });
    expect(response.status).toBe(400);
    expect(((await response.json()) as any).error).toMatchObject({ code: "invalid_value", param: name });
  });

  it("of a body over 8 MiB counts what comes, whatever its length is said to be", async () => {
    const filler = new Uint8Array(1024 * 1024).fill(0x20);
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => (sent++ < 9 ? controller.enqueue(filler) : controller.close()),
    });
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${secret}` },
      body,
      duplex: "half",
    } as RequestInit);
    expect(response.status).toBe(413);
    expect(((await response.json()) as any).error.code).toBe("request_too_large");
  });

  it("of one request too many is a 503 that says when to come again", async () => {
    gate.hold();
    const leaving = new AbortController();
    // The queue holds two; nothing leaves it while no turn happens.
    const waiting = ["q.1", "q.2"].map((id) =>
      post(question, { "x-causeway-attempt-id": id }, leaving.signal),
    );
    for (const id of ["q.1", "q.2"]) while ((await report(id)).state === "unknown");
    const response = await post(question, { "x-causeway-attempt-id": "q.3" });
    expect(response.status).toBe(503);
    expect(response.headers.get("retry-after")).toBe("1");
    expect(((await response.json()) as any).error.code).toBe("queue_full");
    expect((await report("q.3")).state).toBe("unknown");
    leaving.abort();
    await Promise.allSettled(waiting);
  });

  it("while the engine drains or has no model is a 503", async () => {
    const empty = new Engine("test");
    expect(() => empty.serving()).toThrow("being loaded");
    void engine.drain(1_000);
    const response = await post(question);
    expect(response.status).toBe(503);
    expect(((await response.json()) as any).error.code).toBe("draining");
    expect((await ask("GET", "/health")).body.status).toBe("draining");
  });

  it("of an unknown path or method says so", async () => {
    expect(await ask("GET", "/v2")).toMatchObject({ status: 404, body: { error: { code: "not_found" } } });
    expect(await ask("GET", "/v1/chat/completions")).toMatchObject({ status: 405 });
    expect(await ask("POST", "/causeway/v1/attempts/a")).toMatchObject({ status: 405 });
    expect(await ask("GET", "/causeway/v1/attempts/a%2Fb")).toMatchObject({
      status: 400,
      body: { error: { param: "id" } },
    });
  });
});

describe("a context", () => {
  it("clips max_tokens to what the prompt leaves of it, and may be limited by the cache", async () => {
    const bytesPerToken = 5 * 160 * 4;
    const limits = { maxSequences: 1, maxQueue: 1, cacheBytes: 64 * bytesPerToken };
    const small = await loadModel({ folder, name: "small", ...limits, weights: "f32", threads: 1 });
    expect(small.contextLength).toBe(64);
    engine.serve(small);
    const answer = await whole({ model: "small", max_tokens: 4_096 });
    expect(answer).toMatchObject({ choices: [{ finish_reason: "length" }], usage: { total_tokens: 64 } });
    const word = (count: number) => [{ role: "user", content: "a ".repeat(count) }];
    const longest = await whole({ model: "small", messages: word(30) });
    expect(longest.usage).toMatchObject({ prompt_tokens: 63, completion_tokens: 1 });
    const response = await post({ model: "small", messages: word(31) });
    expect(((await response.json()) as any).error.code).toBe("context_length_exceeded");
  });
});

it("tells its model and its state without a bearer only in /health", async () => {
  const health = await (await fetch(`${url}/health`)).json();
  expect(health).toEqual({
    status: "ok",
    model: "causeway-probe",
    region: "test",
    boot_id: engine.bootId,
    running: 0,
    waiting: 0,
  });
  expect((await ask("GET", "/v1/models")).body).toEqual({
    object: "list",
    data: [{ id: "causeway-probe", object: "model", created: 0, owned_by: "causeway", max_model_len: 4096 }],
  });
  expect((await fetch(`${url}/v1/models`)).status).toBe(401);
});

it("tells its metrics without a bearer, and nothing of what was said", async () => {
  await whole({ max_tokens: 5 });
  const response = await fetch(`${url}/metrics`);
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  const text = await response.text();
  const value = (name: string) =>
    Number(new RegExp(`^causeway:${name}\\{[^}]*\\} (\\S+)$`, "m").exec(text)?.[1]);
  expect(value("num_requests_running")).toBe(0);
  expect(value("num_requests_waiting")).toBe(0);
  expect(value("kv_cache_usage_perc")).toBe(0);
  expect(value("kv_cache_bytes_per_token")).toBe(5 * 160 * 4);
  expect(value("prefix_cache_queries_total")).toBe(value("prompt_tokens_total"));
  expect(value("generation_tokens_total")).toBe(5);
  expect(value("time_to_first_token_seconds_count")).toBe(1);
  expect(value("time_per_output_token_seconds_count")).toBe(4);
  expect(text).toContain('finished_reason="length"} 1');
  expect(text).not.toContain("What is Causeway");
});

it("drains: what runs goes on to its end, and is aborted when its time is over", async () => {
  gate.hold();
  const pending = post({ ...question, stream: true, max_tokens: 3 }, { "x-causeway-attempt-id": "drain.1" });
  await gate.turn();
  const drained = engine.drain(60_000);
  gate.open();
  await drained;
  expect(events(await (await pending).text()).at(-1)).toBe("[DONE]");
});

it("aborts at the end of the drain what has not ended", async () => {
  gate.hold();
  const pending = post({ ...question, stream: true }, { "x-causeway-attempt-id": "drain.2" });
  await gate.turn();
  const response = await pending;
  await engine.drain(0);
  expect(events(await response.text()).at(-1)).toMatchObject({ error: { code: "shutting_down" } });
  expect(engine.attempts.report("drain.2")).toMatchObject({ state: "aborted", completion_tokens: 1 });
});
