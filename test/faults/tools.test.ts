/** Tool calls and several answers, on both ways through the edge and with backends that break. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventsOf, type Faulty, RawClient, startFaulty } from "../support/faulty.ts";
import {
  type Account,
  ask,
  audited,
  hello,
  newAccount,
  read,
  register,
  sell,
  settled,
  startUpstream,
} from "../support/platform.ts";
import type { Call, Upstream } from "../support/upstream.ts";

/** In what a client sends, a backend says, and a call carries: it may stand in no log. */
const CANARY = "canary-7f3a9c";
const KINDS = ["causeway", "vllm", "sglang", "openai"] as const;

let edge: Faulty;
let account: Account;
const upstreams = {} as Record<(typeof KINDS)[number], Upstream>;

beforeAll(async () => {
  edge = await startFaulty();
  account = await newAccount(edge.run, "100");
  for (const kind of KINDS) {
    upstreams[kind] = await startUpstream();
    await sell(edge.run, [], `tools-${kind}`);
    await register(edge.run, upstreams[kind], `bknd_tools-${kind}`, `tools-${kind}`, kind);
  }
});
afterAll(async () => {
  if (!edge) return;
  const audit = await audited(edge.run, account.id);
  expect(audit.accounts[0]).toMatchObject({ held: "0", open_reservations: 0, findings: [] });
  expect(edge.run.output()).not.toContain(CANARY);
  await edge.run.stop();
});

const isAnswer = (call: Call) => "messages" in call.body;
function behave(upstream: Upstream, behaviour: (call: Call) => unknown): void {
  upstream.behave = (call) => (isAnswer(call) ? behaviour(call) : call.refuse(200, {}));
}

const data = (value: unknown) => `data: ${JSON.stringify(value)}\n\n`;
/** A chunk of one choice, with a running count of it where one is given. */
function says(
  call: Call,
  index: number,
  delta: object,
  completion?: number,
  reason: string | null = null,
): void {
  const usage = completion !== undefined && { prompt_tokens: 10, completion_tokens: completion };
  const choices = [{ index, delta, finish_reason: reason }];
  call.raw(data({ ...call.chunk({}), choices, ...(usage && { usage }) }));
}
function counts(call: Call, completion: number): void {
  const usage = { prompt_tokens: 10, completion_tokens: completion };
  call.raw(data({ ...call.chunk({}), choices: [], usage }));
  call.raw("data: [DONE]\n\n");
  call.end("done", "stop");
}
const begins = (index: number, name: string, id?: string) => ({
  tool_calls: [{ index, ...(id && { id }), type: "function", function: { name, arguments: "" } }],
});
const goesOn = (index: number, piece: string) => ({
  tool_calls: [{ index, function: { arguments: piece } }],
});

const tool = {
  type: "function",
  function: { name: "f", description: CANARY, parameters: { type: "object" } },
};
const asking = (kind: string, more: object = {}) => hello({ model: `tools-${kind}`, tools: [tool], ...more });
const choicesOf = (events: { choices?: { index: number }[] }[], index: number): any[] =>
  events.flatMap((event) => event.choices ?? []).filter((choice) => choice.index === index);

describe("a request with tools", () => {
  const history = [
    { role: "developer", content: "Be brief." },
    { role: "user", content: "Hello" },
    {
      role: "assistant",
      content: null,
      reasoning_content: "hm",
      tool_calls: [
        { id: "c1", type: "function", x: 1, function: { name: "f", arguments: `{"x":"${CANARY}"}` } },
      ],
    },
    { role: "tool", tool_call_id: "c1", content: "21", x: 1 },
    {
      role: "assistant",
      content: "",
      tool_calls: [{ id: "c2", type: "function", function: { name: "f", arguments: "{}" } }],
    },
    { role: "tool", tool_call_id: "c2", content: "22" },
  ];

  it.each(KINDS)(
    "reaches %s as it was checked: history, tools and choice, and only listed fields",
    async (kind) => {
      const index = upstreams[kind].calls.length;
      behave(upstreams[kind], (call) => {
        call.token("21");
        call.finish();
      });
      const more = {
        messages: history,
        tools: [{ ...tool, cache_control: {} }, { type: "web_search" }],
        tool_choice: { type: "function", function: { name: "f" } },
        parallel_tool_calls: false,
        n: 1,
        presence_penalty: 0.5,
        frequency_penalty: -0.5,
      };
      const response = await ask(edge.run, account.key, asking(kind, more));
      expect(response.status).toBe(200);
      expect(response.headers.get("x-causeway-ignored")).toBe("tools.web_search");
      const { body } = upstreams[kind].calls[index]!;
      const called = (id: string, args: string) => ({
        role: "assistant",
        content: null,
        reasoning_content: id === "c1" ? "hm" : "",
        tool_calls: [{ id, type: "function", function: { name: "f", arguments: args } }],
      });
      expect(body.messages).toEqual([
        { role: "system", content: "Be brief." },
        { role: "user", content: "Hello" },
        called("c1", `{"x":"${CANARY}"}`),
        { role: "tool", content: "21", tool_call_id: "c1" },
        called("c2", "{}"),
        { role: "tool", content: "22", tool_call_id: "c2" },
      ]);
      expect(body).toMatchObject({
        tools: [tool],
        tool_choice: more.tool_choice,
        parallel_tool_calls: false,
        presence_penalty: 0.5,
        frequency_penalty: -0.5,
      });
      expect(body).not.toHaveProperty("n");
    },
  );

  it("holds what its tools may be and every answer, the prompt once", async () => {
    behave(upstreams.openai, (call) => {
      call.token("x");
      for (const index of [1, 2]) says(call, index, {}, undefined, "stop");
      call.finish();
    });
    const held = async (more: object) => {
      const response = await ask(edge.run, account.key, hello({ model: "tools-openai", ...more }));
      await response.text();
      const id = response.headers.get("x-request-id")!;
      await settled(edge.run, account.key, id);
      const { held_nanodollars } = await read<{ held_nanodollars: string }>(
        edge.run,
        account.key,
        `/v1/generation?id=${id}`,
      );
      return Number(held_nanodollars);
    };
    const one = await held({ n: 1 });
    // 100 tokens more for each of two answers, at 10 USD a million.
    expect((await held({ n: 3 })) - one).toBe(2 * 100 * 10_000);
    // At least the bytes of the tool, at 2 USD a million.
    expect((await held({ tools: [tool] })) - one).toBeGreaterThan(JSON.stringify(tool).length * 2_000);
    expect(upstreams.openai.calls.at(-2)!.body).toMatchObject({ n: 3, max_tokens: 100 });
  });
});

describe("a call from a backend on the reading path", () => {
  it.each(["vllm", "sglang", "openai"] as const)("of %s goes out even, streamed and whole", async (kind) => {
    behave(upstreams[kind], (call) => {
      says(call, 0, { role: "assistant", content: "" });
      says(call, 0, { content: "so" });
      // Counted from 1, without an id, and ended with `stop`.
      says(call, 0, begins(1, "f"));
      says(call, 0, goesOn(1, '{"x":'));
      says(call, 0, goesOn(1, "1}"));
      says(call, 0, begins(2, "g", "own"));
      says(call, 0, {}, undefined, "stop");
      counts(call, 9);
    });
    const id = expect.stringMatching(/^call_[0-9A-Z]{26}$/);
    const streamed = await (await ask(edge.run, account.key, asking(kind, { stream: true }))).text();
    const choices = choicesOf(eventsOf(streamed).slice(0, -1), 0);
    expect(choices.flatMap(({ delta }) => delta.tool_calls ?? [])).toEqual([
      { index: 0, id, type: "function", function: { name: "f", arguments: "" } },
      { index: 0, function: { arguments: '{"x":' } },
      { index: 0, function: { arguments: "1}" } },
      { index: 1, id: "own", type: "function", function: { name: "g", arguments: "" } },
    ]);
    expect(choices.at(-1).finish_reason).toBe("tool_calls");
    const whole = await (await ask(edge.run, account.key, asking(kind))).json();
    expect(whole).toMatchObject({
      choices: [
        {
          finish_reason: "tool_calls",
          message: {
            content: "so",
            tool_calls: [
              { id, type: "function", function: { name: "f", arguments: '{"x":1}' } },
              { id: "own", type: "function", function: { name: "g", arguments: "" } },
            ],
          },
        },
      ],
      usage: { completion_tokens: 9 },
    });
  });

  it("that breaks in the middle ends in an error, billed by its count, and is never a whole answer", async () => {
    const index = upstreams.vllm.calls.length;
    behave(upstreams.vllm, (call) => {
      says(call, 0, begins(0, "f", "c"), 3);
      says(call, 0, goesOn(0, `{"x":"${CANARY}`), 5);
    });
    const client = new RawClient(edge.run.url, account.key, asking("vllm", { stream: true }));
    await client.sees(new RegExp(CANARY));
    (await upstreams.vllm.call(index)).die();
    await client.ended;
    expect(eventsOf(client.text).at(-1)).toMatchObject({ error: { code: "backend_failed" } });
    const generation = await settled(edge.run, account.key, await client.id());
    expect(generation).toMatchObject({ ending: "backend_failed", usage: { completion_tokens: 5 } });
    upstreams.vllm.behave = (call) => call.die();
    const whole = await ask(
      edge.run,
      account.key,
      asking("vllm", { messages: [{ role: "user", content: "b" }] }),
    );
    expect(whole.status).toBe(502);
  });
});

describe("several answers", () => {
  it.each(["vllm", "sglang"] as const)(
    "of %s that the client leaves cost both running counts",
    async (kind) => {
      behave(upstreams[kind], (call) => {
        says(call, 0, { content: "one" }, 1);
        says(call, 1, { content: "uno dos" }, 2);
        says(call, 0, { content: " two three" }, 3);
        says(call, 1, begins(0, "f", "c"), 4);
      });
      const index = upstreams[kind].calls.length;
      const client = new RawClient(edge.run.url, account.key, asking(kind, { stream: true, n: 2 }));
      await client.sees(/"tool_calls"/);
      client.leave();
      await (await upstreams[kind].call(index)).left;
      const generation = await settled(edge.run, account.key, await client.id());
      expect(generation).toMatchObject({
        ending: "client_left",
        usage: { prompt_tokens: 10, completion_tokens: 7, source: "backend" },
        cost_nanodollars: String(10 * 2_000 + 7 * 10_000),
      });
    },
  );

  it("whose running count is more than one of them may have, are billed by the text", async () => {
    behave(upstreams.vllm, (call) => {
      says(call, 0, { content: "one" }, 101);
      says(call, 1, { content: "uno" }, 1);
      for (const index of [0, 1]) says(call, index, {}, undefined, "stop");
      call.raw("data: [DONE]\n\n");
      call.end();
    });
    const response = await ask(edge.run, account.key, asking("vllm", { n: 2, max_tokens: 100 }));
    const { usage } = (await response.json()) as { usage: { completion_tokens: number } };
    expect(usage.completion_tokens).toBeGreaterThan(0);
    expect(usage.completion_tokens).toBeLessThan(7);
  });

  it("on the relay that the client leaves cost what the backend counted of both", async () => {
    const { causeway } = upstreams;
    causeway.behave = (call) => {
      for (const index of [0, 1]) says(call, index, { content: `text ${index}` });
      call.report.completion_tokens = 150;
    };
    const index = causeway.calls.length;
    const client = new RawClient(edge.run.url, account.key, asking("causeway", { stream: true, n: 2 }));
    await client.sees(/text 1/);
    client.leave();
    await (await causeway.call(index)).left;
    const generation = await settled(edge.run, account.key, await client.id());
    // More than one answer may have, and not more than two may.
    expect(generation).toMatchObject({
      ending: "client_left",
      usage: { completion_tokens: 150, source: "backend" },
    });
  });

  it.each(["causeway", "openai"] as const)(
    "of %s get a finish each, and the usage on the last",
    async (kind) => {
      behave(upstreams[kind], (call) => {
        for (const index of [1, 0]) says(call, index, { content: `text ${index}` });
        says(call, 0, begins(0, "f", "c"));
        call.report.completion_tokens = 12;
        call.report.finish_reasons = ["tool_calls", "length"];
        if (call.tail) return call.end("done", "tool_calls");
        says(call, 1, {}, undefined, "length");
        says(call, 0, {}, undefined, "tool_calls");
        counts(call, 12);
        return undefined;
      });
      for (const include_usage of [false, true]) {
        const body = asking(kind, { stream: true, n: 2, stream_options: { include_usage } });
        const events = eventsOf(await (await ask(edge.run, account.key, body)).text());
        expect(events.pop()).toBe("[DONE]");
        const finishes = events.flatMap((event) => event.choices).filter((choice) => choice.finish_reason);
        expect(finishes.map(({ index, finish_reason }) => [index, finish_reason])).toEqual([
          [0, "tool_calls"],
          [1, "length"],
        ]);
        expect(events.filter((event) => event.usage)).toEqual([events.at(-1)]);
        expect(events.at(-1)).toMatchObject({
          choices: include_usage ? [] : [{ index: 1 }],
          usage: { prompt_tokens: 10, completion_tokens: 12 },
        });
      }
    },
  );

  it.each(["causeway", "openai"] as const)("of %s of which one does not finish have failed", async (kind) => {
    behave(upstreams[kind], (call) => {
      for (const index of [0, 1]) says(call, index, { content: `text ${index}` });
      call.report.finish_reasons = ["stop"];
      if (call.tail) return call.end("done", "stop");
      says(call, 0, {}, undefined, "stop");
      counts(call, 2);
      return undefined;
    });
    const text = await (await ask(edge.run, account.key, asking(kind, { stream: true, n: 2 }))).text();
    expect(text).not.toContain("[DONE]");
    expect(eventsOf(text).at(-1)).toMatchObject({
      error: { code: "backend_failed" },
      choices: [
        { index: 0, finish_reason: "error" },
        { index: 1, finish_reason: "error" },
      ],
    });
  });

  it("of which nobody counted are counted by all their bytes", async () => {
    const words = "some words that nobody counted ".repeat(4);
    behave(upstreams.openai, (call) => {
      for (const index of [0, 1]) says(call, index, { content: words }, undefined, "stop");
      call.raw("data: [DONE]\n\n");
      call.end();
    });
    const usageOf = async (n: number) => {
      const response = await ask(edge.run, account.key, asking("openai", { n }));
      return ((await response.json()) as { usage: { completion_tokens: number } }).usage.completion_tokens;
    };
    expect(Math.abs((await usageOf(2)) - 2 * (await usageOf(1)))).toBeLessThanOrEqual(1);
  });
});

describe("what one kind of backend alone serves", () => {
  const format = {
    type: "json_schema",
    json_schema: { name: "n", schema: { type: "object", properties: { ok: { type: "boolean" } } } },
  };

  it("goes to that one, whatever else is nearer, and says so in the list of models", async () => {
    const model = "mixed";
    const [ours, theirs] = [await startUpstream(), await startUpstream()];
    await sell(edge.run, [], model);
    await register(edge.run, ours, "bknd_mixed-ours", model, "causeway");
    await register(edge.run, theirs, "bknd_mixed-theirs", model, "vllm");
    const needed = { response_format: format, min_p: 0.1, repetition_penalty: 1.1, top_k: 5 };
    for (let i = 0; i < 4; i++) {
      const response = await ask(edge.run, account.key, hello({ model, ...needed }));
      expect(response.headers.get("x-causeway-backend")).toBe("bknd_mixed-theirs");
      await response.text();
    }
    expect(ours.calls.length).toBe(0);
    expect(theirs.calls.at(-1)!.body).toMatchObject(needed);
    const listed = await read<{ supported_parameters: string[] }>(
      edge.run,
      account.key,
      `/v1/models/${model}`,
    );
    expect(listed.supported_parameters).toEqual(
      expect.arrayContaining(["response_format", "structured_outputs"]),
    );
  });

  it("is a 400 that names it where none does, and nothing is held", async () => {
    for (const [field, value] of [
      ["response_format", format],
      ["top_k", 5],
    ] as const) {
      const response = await ask(edge.run, account.key, asking("openai", { [field]: value }));
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ error: { code: "unsupported_parameter", param: field } });
    }
  });
});
