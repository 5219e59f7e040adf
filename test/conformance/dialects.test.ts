/**
 * What real servers say, replayed: recorded answers become events, refusals and signals by the dialects' own
 * functions, however the bytes are cut. The expectations are written by hand from the recordings.
 */
import { describe, expect, it } from "vitest";
import { dialectOf, dialects } from "../../functions/dispatch/dialects/by-kind.ts";
import type { Dialect, Meaning } from "../../functions/dispatch/dialects/dialect.ts";
import { meaningOf, retryAfterSeconds, saysMore } from "../../functions/dispatch/dialects/refusal.ts";
import { cacheSalt, requestBody, requestHeaders } from "../../functions/dispatch/dialects/request.ts";
import { readEvents } from "../../functions/dispatch/read.ts";
import type { EngineEvent, FinishReason, ToolDelta } from "../../functions/dispatch/run.ts";
import { readSignals } from "../../functions/fleet/metrics.ts";
import { readHealth, readModels } from "../../functions/fleet/probe.ts";
import { type ChatRequest, parseChatRequest } from "../../functions/surfaces/openai/schema.ts";
import { recorded, recordedText } from "./recordings.ts";

const { causeway, openai, sglang, vllm } = dialects;
const limits = { firstMs: 5_000, idleMs: 5_000, maxBytes: 1024 * 1024 };
const decoder = new TextDecoder();
const bodyText = (name: string) => decoder.decode(recorded(name).body);

type How = "ends" | "is cut";

/** What the reading path makes of these pieces, one read each; after them the connection ends or is cut. */
async function replayed(
  pieces: readonly Uint8Array[],
  dialect: Dialect,
  how: How,
  choices = 1,
): Promise<EngineEvent[]> {
  let next = 0;
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (next < pieces.length) controller.enqueue(pieces[next++]!);
        else if (how === "ends") controller.close();
        else controller.error(new Error("reset"));
      },
    },
    { highWaterMark: 0 },
  );
  const events: EngineEvent[] = [];
  for await (const came of readEvents(body as never, limits, dialect, choices)) events.push(...came);
  return events;
}

const text = (said: string, choice = 0): EngineEvent => ({ type: "delta", choice, text: said });
const tool = (tool: ToolDelta, choice = 0): EngineEvent => ({ type: "delta", choice, tool });
const finish = (reason: FinishReason, choice = 0): EngineEvent => ({ type: "finish", choice, reason });
const count = (prompt: number, completion: number, cached?: number, reasoning?: number) => ({
  promptTokens: prompt,
  completionTokens: completion,
  cachedTokens: cached,
  reasoningTokens: reasoning,
});
/** A count of choice 0 that came with so many deltas. */
const running = (covers: number, ...counts: Parameters<typeof count>): EngineEvent => ({
  type: "usage",
  final: false,
  choice: 0,
  covers,
  claimed: count(...counts),
});
const final = (...counts: Parameters<typeof count>): EngineEvent => ({
  type: "usage",
  final: true,
  covers: 0,
  claimed: count(...counts),
});
const reported: EngineEvent = { type: "error", message: "the backend reported an error", means: "failed" };
const cut: EngineEvent = { type: "error", message: "the backend's stream was cut" };

const streams: [string, Dialect, How, EngineEvent[], choices?: number][] = [
  [
    "vllm-0.32/stream-usage.http",
    vllm,
    "ends",
    [text(" print"), text("set"), text("\ufffdys"), text("ys"), finish("length"), final(11, 6, 0)],
  ],
  [
    "vllm-0.32/stream-continuous.http",
    vllm,
    "ends",
    [
      running(0, 11, 0),
      running(1, 11, 1),
      text(" print"),
      running(1, 11, 2),
      text("set"),
      running(0, 11, 3),
      finish("length"),
      final(11, 3, 0),
    ],
  ],
  [
    "vllm-0.32/stream-long-cached.http",
    vllm,
    "ends",
    [text("m"), text("mplemented"), finish("length"), final(695, 2, 640)],
  ],
  // Its engine got SIGTERM: an error, and [DONE] all the same.
  ["vllm-0.32/die-sigterm-stream.http", vllm, "ends", [text("\ufffdL"), text(" v"), reported]],
  [
    "vllm-0.32/die-kill9-api-stream.http",
    vllm,
    "is cut",
    [
      ..."\ufffd int| p|ck|\ufffdAL|wo|test| Decimal|__,| f|ase|imit|fter"
        .split("|")
        .map((said) => text(said)),
      { type: "error", message: "the backend's stream was cut" },
    ],
  ],
  [
    "vllm-0.32/n2-stream.http",
    vllm,
    "ends",
    [text("LD"), text("\f"), finish("length"), text("11", 1), text(" poss", 1), finish("length", 1)],
    2,
  ],
  // Named: a call that was cut off. Without a parser of its own the server passes on what the model wrote.
  [
    "vllm-0.32/tools-named-stream.http",
    vllm,
    "ends",
    [
      tool({ index: 0, id: "chatcmpl-tool-ba88ca1105c904d1", name: "get_weather", arguments: "" }),
      tool({ index: 0, arguments: "3" }),
      finish("length"),
    ],
  ],
  [
    "vllm-0.32/tools-required-stream.http",
    vllm,
    "ends",
    [
      tool({ index: 0, id: "chatcmpl-tool-985661a1a7a77ee2", name: "get_weather", arguments: "" }),
      tool({ index: 0, arguments: "3" }),
      finish("tool_calls"),
    ],
  ],
  [
    "vllm-0.32/tools-auto-stream.http",
    vllm,
    "ends",
    [..."ult|ad|\u0006|part|part|part".split("|").map((said) => text(said)), finish("length")],
  ],
  [
    "sglang-0.5/sgl-stream-usage.http",
    sglang,
    "ends",
    [..."ai|aiai|ai|ai|ai".split("|").map((said) => text(said)), finish("length"), final(11, 6, 10, 0)],
  ],
  [
    "sglang-0.5/sgl-stream-continuous.http",
    sglang,
    "ends",
    [
      running(1, 11, 1, 10, 0),
      text("ai"),
      running(1, 11, 2, 10, 0),
      text("ai"),
      running(1, 11, 3, 10, 0),
      text("ai"),
      finish("length"),
      final(11, 3, 10, 0),
    ],
  ],
  [
    "sglang-0.5/die-sgl-kill9-stream.http",
    sglang,
    "is cut",
    [..."V|etwork|imit|group".split("|").map((said) => text(said)), cut],
  ],
  [
    "sglang-0.5/sgl-n2-stream.http",
    sglang,
    "ends",
    [text("W"), text("S", 1), text("coding"), text("state", 1), finish("length"), finish("length", 1)],
    2,
  ],
];

describe.each(streams)("%s", (name, dialect, how, expected, choices) => {
  const { status, body } = recorded(name);
  const wanted = JSON.stringify(expected);

  it("becomes these events", async () => {
    expect(status).toBe(200);
    expect(await replayed([body], dialect, how, choices)).toEqual(expected);
  });

  it("becomes the same events when every byte comes by itself", async () => {
    const bytes = Array.from(body, (_, at) => body.subarray(at, at + 1));
    expect(JSON.stringify(await replayed(bytes, dialect, how, choices))).toBe(wanted);
  });

  it("becomes the same events at every split in two", async () => {
    for (let at = 1; at < body.length; at++) {
      const events = await replayed([body.subarray(0, at), body.subarray(at)], dialect, how, choices);
      if (JSON.stringify(events) !== wanted) expect(events, `split at byte ${at}`).toEqual(expected);
    }
  });

  it("that is cut at any byte ends in an error, unless its finish and its count were out", async () => {
    for (let at = 0; at < body.length; at++) {
      const events = await replayed([body.subarray(0, at)], dialect, "is cut", choices);
      const all = (type: string) => events.filter((event) => event.type === type);
      const complete = all("finish").length === (choices ?? 1) && all("usage").length > 0;
      expect(events.at(-1)?.type === "error", `cut at byte ${at}`).toBe(!complete);
    }
  });
});

it("a compatible router whose worker died says it with an error and [DONE]: no finish, no count", async () => {
  const { body } = recorded("smg-1.13/smg-kill9-stream.http");
  const events = await replayed(
    Array.from(body, (_, at) => body.subarray(at, at + 1)),
    openai,
    "ends",
  );
  expect(events.at(-1)).toEqual(reported);
  expect(events.slice(0, 3)).toEqual([text("iple"), text(" specified"), text(" get")]);
  expect(events.slice(0, -1).every(({ type }) => type === "delta")).toBe(true);
});

const refusals: [string, Dialect, number, Meaning][] = [
  ["vllm-0.32/err-long.http", vllm, 400, "context_exceeded"],
  ["vllm-0.32/err-maxtokens.http", vllm, 400, "invalid"],
  ["vllm-0.32/err-json.http", vllm, 400, "invalid"],
  ["vllm-0.32/err-model.http", vllm, 404, "failed"],
  ["vllm-0.32/err-404.http", vllm, 404, "failed"],
  ["vllm-0.32/overload-3.http", vllm, 503, "overloaded"],
  ["vllm-0.32/die-sigterm-nonstream.http", vllm, 500, "failed"],
  ["sglang-0.5/sgl-err-long.http", sglang, 400, "context_exceeded"],
  ["sglang-0.5/sgl-err-maxtokens.http", sglang, 400, "invalid"],
  ["sglang-0.5/sgl-err-json.http", sglang, 400, "invalid"],
  ["sglang-0.5/sgl-err-404.http", sglang, 404, "failed"],
  ["smg-1.13/smg-err-model.http", openai, 404, "failed"],
];

describe("an answer that is a refusal", () => {
  it.each(refusals)("%s means what it should", (name, dialect, status, means) => {
    const answer = recorded(name);
    expect(answer.status).toBe(status);
    expect(meaningOf(dialect, status, decoder.decode(answer.body))).toBe(means);
  });

  it("a 500 of a draining vLLM means draining, and only that one", () => {
    const drain = /new (\{.*\})500/.exec(recordedText("vllm-0.32/die-sigterm-drain.txt"))![1]!;
    expect(saysMore(vllm, 500)).toBe(true);
    expect(meaningOf(vllm, 500, drain)).toBe("draining");
    expect(meaningOf(openai, 500, drain)).toBe("failed");
  });

  it.each(["draining", "shutting_down"])("a 503 %s of our engine means draining", (code) => {
    expect(meaningOf(causeway, 503, JSON.stringify({ error: { message: "x", code } }))).toBe("draining");
    expect(meaningOf(causeway, 503, '{"error":{"code":"queue_full"}}')).toBe("overloaded");
  });

  it("SGLang answers for a model that it lacks: no status tells, only its list of models", () => {
    expect(recorded("sglang-0.5/sgl-err-model.http").status).toBe(200);
    expect(readModels(bodyText("sglang-0.5/sgl-models.http"))).toEqual([{ id: "tiny", contextLength: 2048 }]);
    expect(readModels(bodyText("vllm-0.32/models.http"))).toEqual([{ id: "tiny", contextLength: 2048 }]);
    for (const nonsense of ["", "[]", "{oops", '{"data":[1,null,{"id":2}]}'])
      expect(readModels(nonsense)).toEqual([]);
  });

  it.each([
    ["7", 7],
    ["0.2", 1],
    ["3600", 60],
    ["Tue, 24 Nov 2026 10:00:30 GMT", 30],
    ["Tue, 24 Nov 2026 09:00:00 GMT", 2],
    ["-5", 2],
    ["0", 2],
    ["soon", 2],
    ["1.2.3", 2],
    ["", 2],
    [null, 2],
  ])("Retry-After %j is %i seconds", (header, seconds) => {
    expect(retryAfterSeconds(header, Date.parse("2026-11-24T10:00:00Z"))).toBe(seconds);
  });
});

describe("an error inside a stream", () => {
  const sent = (data: string, event = "") =>
    replayed([new TextEncoder().encode(`${event}data: ${data}\n\ndata: [DONE]\n\n`)], sglang, "ends");
  const message = "the backend reported an error";

  it.each([
    ["OpenAI's envelope", '{"error":{"message":"/etc/x","code":500}}', "failed"],
    ["SGLang's flat shape", '{"object":"error","message":"full","code":503}', "overloaded"],
    ["SGLang's flat shape in an envelope", '{"error":{"object":"error","code":429}}', "overloaded"],
    [
      "a prompt that is too long",
      '{"error":{"message":"The input (9 tokens) is longer than the model\'s context length (8 tokens).","code":400}}',
      "context_exceeded",
    ],
    ["FastAPI's", '{"detail":"Internal"}', "failed"],
    ["an envelope that is a text", '{"error":"oops"}', "failed"],
  ])("%s is read, and nothing of it is passed on", async (_, data, means) => {
    expect(await sent(data)).toEqual([{ type: "error", message, means }]);
  });

  it("whatever comes under the name `error` is one", async () => {
    expect(await sent("no JSON", "event: error\n")).toEqual([{ type: "error", message, means: "failed" }]);
  });
});

describe("a request", () => {
  const request = parseChatRequest({
    model: "sold-as",
    messages: [{ role: "user", content: "Hello" }],
    temperature: 0.5,
    top_p: 0.9,
    seed: 7,
    stop: "END",
    stream_options: { include_usage: false, continuous_usage_stats: false },
    // None of these may reach a backend.
    cache_salt: "another's",
    extra_key: "another's",
    rid: "another's",
    request_id: "another's",
    chat_template: "{{ x }}",
    chat_template_kwargs: { x: 1 },
    custom_logit_processor: "x",
    lora_path: "/x",
    ignore_eos: true,
  }) as ChatRequest;
  const asked = {
    request,
    servedAs: "tiny",
    maxOutput: 512,
    salt: "salt",
    attempt: "req_X.1",
    relayed: false,
  } as const;
  const common = {
    model: "tiny",
    messages: [{ role: "user", content: "Hello" }],
    stream: true,
    max_tokens: 512,
    stop: ["END"],
    seed: 7,
    temperature: 0.5,
    top_p: 0.9,
  };
  const counts = { include_usage: true, continuous_usage_stats: true };

  it("to vLLM has the edge's salt and running counts, and its id in a header", () => {
    expect(requestBody(vllm, asked)).toEqual({ ...common, stream_options: counts, cache_salt: "salt" });
    expect(requestHeaders(vllm, asked)).toEqual({ "x-request-id": "req_X.1" });
  });

  it("to SGLang has the edge's salt, running counts and its id", () => {
    const own = { cache_salt: "salt", rid: "req_X.1" };
    expect(requestBody(sglang, asked)).toEqual({ ...common, stream_options: counts, ...own });
    expect(requestHeaders(sglang, asked)).toEqual({});
  });

  it("to a compatible server has only what all of them understand", () => {
    expect(requestBody(openai, asked)).toEqual({ ...common, stream_options: { include_usage: true } });
    expect(requestHeaders(openai, asked)).toEqual({});
  });

  it("to our engine has both in headers; one that is relayed asks for no usage", () => {
    expect(requestBody(causeway, asked)).toEqual({ ...common, stream_options: { include_usage: true } });
    expect(requestBody(causeway, { ...asked, relayed: true })).toEqual(common);
    const headers = { "x-causeway-attempt-id": "req_X.1", "x-causeway-cache-salt": "salt" };
    expect(requestHeaders(causeway, asked)).toEqual(headers);
  });

  it("has a salt that is the account's alone and does not name it", async () => {
    const salt = await cacheSalt("acct_01J0000000000000000000000A");
    expect(salt).toMatch(/^[0-9a-f]{64}$/);
    expect(salt).toBe(await cacheSalt("acct_01J0000000000000000000000A"));
    expect(salt).not.toBe(await cacheSalt("acct_01J0000000000000000000000B"));
  });

  it("is aborted as each server needs it", () => {
    expect([causeway, vllm, openai].map(({ abort }) => abort.by)).toEqual(["attempt", "closing", "closing"]);
    const { abort } = sglang;
    if (abort.by !== "closing_and_posting") throw new Error(abort.by);
    expect([abort.path, abort.body("req_X.1")]).toEqual(["/abort_request", { rid: "req_X.1" }]);
  });

  it("has no dialect where the kind is unknown, whatever the name", () => {
    expect(dialectOf("vllm")).toBe(vllm);
    for (const kind of ["mindie", "", "toString", "__proto__"]) expect(dialectOf(kind)).toBeUndefined();
  });
});

describe("health", () => {
  it("of vLLM is up while it drains: so its word is not certain", () => {
    expect(readHealth(vllm, recorded("vllm-0.32/health.http").status, "")).toEqual({
      state: "up",
      certain: false,
    });
    expect(recordedText("vllm-0.32/die-sigterm-drain.txt")).toMatch(/health 200 .*cannot schedule/);
    expect(readHealth(vllm, 503, "")).toEqual({ state: "down", certain: true });
  });

  it("of SGLang is 503 while it drains, and takes more than a second", () => {
    expect(recordedText("sglang-0.5/die-sgl-sigterm.txt")).toMatch(/health 503 models 200/);
    expect(readHealth(sglang, 503, "")).toEqual({ state: "draining", certain: true });
    expect(readHealth(sglang, recorded("sglang-0.5/sgl-health.http").status, "").state).toBe("up");
    const took = Number(/took ([\d.]+)s/.exec(recordedText("sglang-0.5/sgl-health.http"))![1]);
    expect(sglang.health.limitMs).toBeGreaterThan(2_000 * took);
  });

  it("of our engine is in the body, with its load and its life", () => {
    const says = (status: string) =>
      readHealth(causeway, 200, JSON.stringify({ status, running: 2, waiting: 1, boot_id: "b1" }));
    expect(says("ok")).toEqual({ state: "up", certain: true, running: 2, waiting: 1, bootId: "b1" });
    expect(says("draining").state).toBe("draining");
    expect(says("loading").state).toBe("loading");
    expect(says("toString").state).toBe("down");
    expect(readHealth(causeway, 500, '{"status":"ok"}').state).toBe("down");
    expect(readHealth(causeway, 200, "<html>").state).toBe("down");
    expect(readHealth(causeway, 200, '{"status":"ok","running":-1,"waiting":1e99,"boot_id":5}')).toEqual({
      state: "up",
      certain: true,
    });
  });

  it("of any other server is its list of models, with its bearer", () => {
    expect(openai.health).toMatchObject({ path: "/v1/models", bearer: true });
    for (const there of [200, 404, 405]) {
      expect(readHealth(openai, there, "")).toEqual({ state: "up", certain: false });
    }
    for (const not of [401, 403, 500, 502, 503]) expect(readHealth(openai, not, "").state).toBe("down");
  });
});

describe("metrics", () => {
  it("of vLLM give its load and its caches", () => {
    expect(readSignals(vllm, bodyText("vllm-0.32/metrics.http"))).toEqual({
      running: 0,
      waiting: 0,
      cacheUse: 0,
      prefixHits: 1280,
      prefixQueries: 3819,
      decodeSeconds: 3.7245204709988684,
      decodeTokens: 388,
      prefillSeconds: 15.409284564001155,
      prefillTokens: 2554,
    });
  });

  it("of SGLang give its load and its caches", () => {
    expect(readSignals(sglang, bodyText("sglang-0.5/sgl-metrics.http"))).toEqual({
      running: 0,
      waiting: 0,
      cacheUse: 0,
      prefixHits: 891,
      prefixQueries: 1757,
      decodeSeconds: 1.2341596179985572,
      decodeTokens: 83,
    });
  });

  it("of several engines add up, and the fullest cache counts", () => {
    const lines = [
      "# HELP vllm:num_requests_running 7 is no sample",
      'vllm:num_requests_running{engine="0",model_name="a \\"}{ b"} 3.0',
      'vllm:num_requests_running{engine="1",model_name="x"} 2 1795475977000',
      'vllm:num_requests_running_total{engine="1"} 100',
      "vllm:num_requests_waiting 1e1",
      'vllm:kv_cache_usage_perc{engine="0"} 0.25',
      'vllm:kv_cache_usage_perc{engine="1"} 0.75',
    ];
    for (const end of ["\n", "\r\n"])
      expect(readSignals(vllm, lines.join(end))).toEqual({ running: 5, waiting: 10, cacheUse: 0.75 });
  });

  it("of SGLang count every queue before decoding as waiting", () => {
    const queues = "sglang:num_queue_reqs 1\nsglang:num_prefill_bootstrap_queue_reqs 2\n";
    expect(readSignals(sglang, queues)).toEqual({ waiting: 3 });
  });

  it("under the names of an older version are read as well; the newer one's come first", () => {
    const old = "vllm:gpu_cache_usage_perc 0.5\n";
    expect(readSignals(vllm, old)).toEqual({ cacheUse: 0.5 });
    expect(readSignals(vllm, `${old}vllm:kv_cache_usage_perc 0.25\n`)).toEqual({ cacheUse: 0.25 });
  });

  it.each(["NaN", "+Inf", "-1", "1e400", "0x10", "", "1 2 3", "one", "9007199254740993"])(
    "that say %j say nothing",
    (value) => {
      expect(readSignals(vllm, `vllm:num_requests_running ${value}\n`)).toEqual({});
    },
  );

  it("that say a cache is more than full say nothing of it", () => {
    expect(readSignals(vllm, "vllm:kv_cache_usage_perc 25\n")).toEqual({});
  });

  it("beyond all measure are refused: too long, or too many lines", () => {
    expect(readSignals(vllm, "x".repeat(2 * 1024 * 1024 + 1))).toBeUndefined();
    expect(readSignals(vllm, "\n".repeat(50_001))).toBeUndefined();
    expect(readSignals(vllm, "\n".repeat(49_000))).toEqual({});
  });

  it("of a server that has none are none", () => {
    expect(readSignals(openai, "vllm:num_requests_running 1\n")).toBeUndefined();
  });
});
