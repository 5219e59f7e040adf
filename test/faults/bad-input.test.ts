/** What bad input gets: a specific error in OpenAI's shape, nothing hung, no reservation left open. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Faulty, startFaulty } from "../support/faulty.ts";
import { type Account, admin, ask, hello, MODEL, newAccount, read, sell } from "../support/platform.ts";

let edge: Faulty;
let account: Account;
beforeAll(async () => {
  edge = await startFaulty();
  account = await newAccount(edge.run, "100");
});
afterAll(() => edge?.run.stop());

/** A function as a tool. */
const called = (more: object = {}) => ({ type: "function", function: { name: "f", ...more } });

function nested(depth: number): object {
  return depth === 0 ? {} : { properties: nested(depth - 1) };
}

async function refusal(response: Response) {
  const body = (await response.json()) as {
    error: { message: string; type: string; param: string | null; code: string };
  };
  expect(response.headers.get("x-request-id")).toMatch(/^req_/);
  expect(response.headers.get("x-should-retry")).toMatch(/^(true|false)$/);
  expect(body.error).toEqual({
    message: expect.any(String),
    type: expect.any(String),
    param: body.error.param === null ? null : expect.any(String),
    code: expect.any(String),
  });
  return { status: response.status, ...body.error };
}

describe("a body", () => {
  const send = async (body: unknown) => refusal(await ask(edge.run, account.key, body));

  it.each([
    ["that is not JSON", "{", "invalid_json"],
    ["that is empty", "", "invalid_json"],
    ["that is a list", "[]", "invalid_value"],
  ])("%s is a 400", async (_, body, code) => {
    expect(await send(body)).toMatchObject({ status: 400, code });
  });

  it("that is not UTF-8 is a 400", async () => {
    const body = new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]);
    expect(await refusal(await ask(edge.run, account.key, "", { body }))).toMatchObject({
      status: 400,
      code: "invalid_json",
    });
  });

  it.each<[string, Record<string, unknown>]>([
    ["model", { model: 7 }],
    ["model", { model: undefined }],
    ["messages", { messages: "hi" }],
    ["messages", { messages: [] }],
    ["messages.0.role", { messages: [{ role: "wizard", content: "x" }] }],
    ["messages.0.content", { messages: [{ role: "user" }] }],
    ["messages.0.content", { messages: [{ role: "user", content: [{ type: "image_url", image_url: {} }] }] }],
    ["stream", { stream: "yes" }],
    ["temperature", { temperature: 3 }],
    ["temperature", { temperature: "hot" }],
    ["top_p", { top_p: 0 }],
    ["stop", { stop: ["a", "b", "c", "d", "e"] }],
    ["stop", { stop: "" }],
    ["seed", { seed: 1.5 }],
    ["max_tokens", { max_tokens: 0 }],
    ["max_tokens", { max_tokens: 2 ** 53 }],
    ["max_tokens", { max_tokens: -1 }],
    ["max_tokens", { max_tokens: "many" }],
    ["max_completion_tokens", { max_tokens: undefined, max_completion_tokens: 0 }],
    ["n", { n: 0 }],
    ["n", { n: 9 }],
    ["top_k", { top_k: 1.5 }],
    ["presence_penalty", { presence_penalty: 2.5 }],
    ["frequency_penalty", { frequency_penalty: "low" }],
    ["logprobs", { logprobs: true }],
    ["logit_bias", { logit_bias: { 5: 1 } }],
    ["tools", { tools: {} }],
    ["tools.0.type", { tools: [{ function: { name: "f" } }] }],
    ["tools.1.function", { tools: [{ type: "web_search" }, { type: "function" }] }],
    ["tools.0.function.name", { tools: [{ type: "function", function: { name: "" } }] }],
    ["tools.0.function.parameters", { tools: [called({ parameters: [] })] }],
    ["tools", { tools: [called({ parameters: nested(70) })] }],
    ["tools", { tools: [called({ parameters: { enum: new Array(60_000).fill(1) } })] }],
    ["tool_choice", { tool_choice: "required" }],
    ["tool_choice", { tool_choice: "required", tools: [{ type: "web_search" }] }],
    ["tool_choice", { tool_choice: "any", tools: [called()] }],
    ["tool_choice", { tool_choice: { type: "function", function: { name: "g" } }, tools: [called()] }],
    ["messages.0.tool_call_id", { messages: [{ role: "tool", content: "{}" }] }],
    [
      "messages.0.tool_calls.0.id",
      { messages: [{ role: "assistant", tool_calls: [{ function: { name: "f", arguments: "{}" } }] }] },
    ],
    [
      "messages.0.tool_calls.0.function.arguments",
      {
        messages: [{ role: "assistant", tool_calls: [{ id: "c", function: { name: "f", arguments: {} } }] }],
      },
    ],
    ["functions", { functions: [{ name: "f" }] }],
    // Of our own engine, the only kind that this model has.
    ["min_p", { min_p: 0.1 }],
    ["repetition_penalty", { repetition_penalty: 1.1 }],
    ["response_format", { response_format: { type: "json_object" } }],
    ["response_format.type", { response_format: { type: "yaml" } }],
    [
      "response_format.json_schema.schema",
      {
        response_format: {
          type: "json_schema",
          json_schema: { name: "x", schema: { type: "array", maxItems: 1e9 } },
        },
      },
    ],
  ])("with a wrong '%s' is a 400 that names it: %j", async (param, change) => {
    expect(await send(hello(change))).toMatchObject({ status: 400, type: "invalid_request_error", param });
  });

  it("over 8 MiB is a 413 by counting, without a Content-Length too", async () => {
    const big = JSON.stringify(hello({ messages: [{ role: "user", content: "x".repeat(9 * 1024 * 1024) }] }));
    expect(await send(big)).toMatchObject({ status: 413, code: "request_too_large" });
    const chunks = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(big));
        controller.close();
      },
    });
    const chunked = await ask(edge.run, account.key, "", { body: chunks, duplex: "half" } as RequestInit);
    expect(await refusal(chunked)).toMatchObject({ status: 413 });
  });

  it("for an unknown model is a 404 that says so", async () => {
    expect(await send(hello({ model: "gpt-9" }))).toMatchObject({
      status: 404,
      code: "model_not_found",
      param: "model",
    });
  });

  it("for a model without a price is a 404: unknown is not free", async () => {
    const about = {
      name: "x",
      description: "x",
      owned_by: "x",
      context_length: 100,
      default_max_output_tokens: 10,
    };
    await admin(edge.run, "PUT", "/models/unpriced", about);
    expect(await send(hello({ model: "unpriced" }))).toMatchObject({ status: 404, code: "model_not_found" });
  });

  it("for a model without a backend is a 503 with Retry-After, and nothing is reserved", async () => {
    await sell(edge.run, [], "nowhere");
    const response = await ask(edge.run, account.key, hello({ model: "nowhere" }));
    expect(response.headers.get("retry-after")).toBe("5");
    expect(await refusal(response)).toMatchObject({ status: 503, code: "no_backend" });
  });
});

describe("what clients send out of habit", () => {
  it("unknown fields are accepted, not forwarded, and named", async () => {
    const index = edge.upstream.calls.length;
    const body = hello({
      chat_template: "{{ evil }}",
      lora_path: "/x",
      user: "u",
      n: 1,
      presence_penalty: 0,
      top_k: 0,
      min_p: 0,
      repetition_penalty: 1,
      response_format: { type: "text" },
      parallel_tool_calls: true,
      tool_choice: "auto",
      tools: [{ type: "web_search" }, { type: "custom", custom: { name: "x" } }],
    });
    const response = await ask(edge.run, account.key, body);
    expect(response.status).toBe(200);
    expect(response.headers.get("x-causeway-ignored")).toBe(
      "chat_template, lora_path, user, tools.web_search, tools.custom",
    );
    const sent = (await edge.upstream.call(index)).body;
    expect(Object.keys(sent).sort()).toEqual(["max_tokens", "messages", "model", "stream", "stream_options"]);
  });

  it("the limit of output tokens is always sent to the backend, as it was held", async () => {
    const index = edge.upstream.calls.length;
    await (await ask(edge.run, account.key, hello({ max_tokens: undefined }))).text();
    expect((await edge.upstream.call(index)).body.max_tokens).toBe(512);
  });

  it("null means absent, content may be parts, developer is a role", async () => {
    const messages = [
      { role: "developer", content: "Be brief." },
      {
        role: "user",
        content: [
          { type: "text", text: "a" },
          { type: "text", text: "b" },
        ],
      },
    ];
    const index = edge.upstream.calls.length;
    const response = await ask(
      edge.run,
      account.key,
      hello({ messages, stop: null, seed: null, temperature: null }),
    );
    expect(response.status).toBe(200);
    expect((await edge.upstream.call(index)).body.messages[1]).toEqual({ role: "user", content: "ab" });
  });
});

describe("a key", () => {
  const sendAs = async (headers: Record<string, string>) =>
    refusal(
      await ask(edge.run, "", hello(), { headers: { ...headers, "content-type": "application/json" } }),
    );

  it("that is missing, malformed, forged or of another tag is a 401", async () => {
    const forged = `${account.key.slice(0, -1)}${account.key.endsWith("0") ? "1" : "0"}`;
    for (const key of [
      "",
      "Bearer",
      "Bearer nonsense",
      `Bearer ${forged}`,
      `Bearer ${account.key}x`,
      "Basic dTpw",
    ]) {
      expect(await sendAs(key ? { authorization: key } : {})).toMatchObject({
        status: 401,
        code: "invalid_api_key",
      });
    }
  });

  it("that was revoked is a 401, everywhere", async () => {
    const other = await newAccount(edge.run, "1");
    await admin(edge.run, "DELETE", `/accounts/${other.id}/keys/${other.keyId}`);
    expect(await sendAs({ authorization: `Bearer ${other.key}` })).toMatchObject({ status: 401 });
    await expect(read(edge.run, other.key, "/v1/balance")).rejects.toThrow("401");
  });

  it("may come as x-api-key; two that differ are a 400", async () => {
    const response = await ask(edge.run, "", hello(), { headers: { "x-api-key": account.key } });
    expect(response.status).toBe(200);
    const both = { authorization: `Bearer ${account.key}`, "x-api-key": "other" };
    expect(await sendAs(both)).toMatchObject({ status: 400, code: "conflicting_credentials" });
  });

  it("of another account opens nothing of this one", async () => {
    const response = await ask(edge.run, account.key, hello());
    const { id } = (await response.json()) as { id: string };
    const other = await newAccount(edge.run, "1");
    await expect(read(edge.run, other.key, `/v1/generation?id=${id}`)).rejects.toThrow("404");
  });

  it("of the API does not open the admin API, nor the other way round", async () => {
    const asAdmin = await fetch(new URL("/admin/accounts", edge.run.url), {
      headers: { authorization: `Bearer ${account.key}` },
    });
    expect(asAdmin.status).toBe(401);
    expect(await sendAs({ authorization: `Bearer ${edge.run.adminKey}` })).toMatchObject({ status: 401 });
  });
});

describe("money and limits", () => {
  it("no balance is a 402 that is not retried", async () => {
    const poor = await newAccount(edge.run, "0");
    const response = await ask(edge.run, poor.key, hello());
    expect(response.headers.get("x-should-retry")).toBe("false");
    expect(await refusal(response)).toMatchObject({ status: 402, code: "insufficient_balance" });
  });

  it("requests a minute over the key's limit are a 429 with Retry-After and the limit's headers", async () => {
    const limited = await newAccount(edge.run, "1", { requests_per_minute: 2 });
    const first = await ask(edge.run, limited.key, hello());
    expect(first.headers.get("x-ratelimit-limit-requests")).toBe("2");
    expect(first.headers.get("x-ratelimit-remaining-requests")).toBe("1");
    await (await ask(edge.run, limited.key, hello())).text();
    const third = await ask(edge.run, limited.key, hello());
    expect(Number(third.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(third.headers.get("x-ratelimit-remaining-requests")).toBe("0");
    expect(await refusal(third)).toMatchObject({ status: 429, code: "rate_limit_exceeded" });
  });

  it("tokens a minute count what was used once it is settled", async () => {
    const limited = await newAccount(edge.run, "1", { tokens_per_minute: 300 });
    // Each may use 185 (85 of prompt by bytes, 100 of output) and uses 12: one at a time, many pass.
    for (let i = 0; i < 5; i++) expect((await ask(edge.run, limited.key, hello())).status).toBe(200);
    const never = await refusal(await ask(edge.run, limited.key, hello({ max_tokens: 400 })));
    expect(never).toMatchObject({ status: 400, code: "request_exceeds_limit" });
  });
});

it("unknown paths and methods are a 404 in the same shape", async () => {
  for (const [method, path] of [
    ["GET", "/v1/nothing"],
    ["GET", "/"],
    ["PUT", "/v1/chat/completions"],
  ]) {
    const response = await fetch(new URL(path, edge.run.url), {
      method,
      headers: { authorization: `Bearer ${account.key}` },
    });
    expect(await refusal(response)).toMatchObject({ status: 404, type: "not_found_error" });
  }
});

it("a model's id may have a slash, plain or encoded", async () => {
  await sell(edge.run, [], "org/name");
  for (const path of ["/v1/models/org/name", "/v1/models/org%2Fname"]) {
    expect(await read(edge.run, account.key, path)).toMatchObject({
      id: "org/name",
      pricing: { prompt: "0.000002", completion: "0.00001" },
    });
  }
  await expect(read(edge.run, account.key, "/v1/models/no%2Fsuch")).rejects.toThrow("404");
});

it("after all of it nothing is open and the books are right", async () => {
  const audit = await admin<{ accounts: { open_reservations: number; findings: string[] }[] }>(
    edge.run,
    "GET",
    "/audit",
  );
  for (const one of audit.accounts) expect(one).toMatchObject({ open_reservations: 0, findings: [] });
  expect(
    (await read<{ data: { id: string }[] }>(edge.run, account.key, "/v1/models")).data.some(
      (one) => one.id === MODEL,
    ),
  ).toBe(true);
});
