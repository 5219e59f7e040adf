/** Tools and several answers, through the edge to the clients that people use: a real model calls and answers. */
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import { generateText, isStepCount, jsonSchema, streamText, tool } from "ai";
import OpenAI from "openai";
import type { ChatCompletionChunk, ChatCompletionTool } from "openai/resources/chat/completions";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Account, ask, audited, newAccount, read, settled } from "../support/platform.ts";
import { type Run, startRun } from "../support/run.ts";

let run: Run;
let account: Account;
let model: string;
let client: OpenAI;

beforeAll(async () => {
  run = await startRun({ engines: 1 });
  account = await newAccount(run, "10");
  const { data } = await read<{ data: { id: string }[] }>(run, account.key, "/v1/models");
  model = data[0].id;
  client = new OpenAI({ baseURL: `${run.url}/v1`, apiKey: account.key, maxRetries: 0 });
});
afterAll(async () => {
  if (!run) return;
  expect((await audited(run, account.id)).clean).toBe(true);
  await run.stop();
});

const parameters = {
  type: "object" as const,
  properties: { city: { type: "string" as const } },
  required: ["city"],
};
const functionOf = (name: string, description: string): ChatCompletionTool => ({
  type: "function",
  function: { name, description, parameters },
});
const tools = [
  functionOf("get_weather", "Get the current weather for a city."),
  functionOf("find_hotel", "Find a hotel in a city."),
];
const RESULT = '{"temperature":21,"sky":"clear"}';
const QUESTION = "What is the weather in Rome?";
const inRome = () => ({ model, tools, messages: [{ role: "user" as const, content: QUESTION }] });
const romeCall = (name: string) => ({
  id: expect.stringMatching(/^call_/),
  type: "function",
  function: { name, arguments: '{"city":"Rome"}' },
});

describe("the openai client", () => {
  it("gets a call whole, sends its result, and gets the answer", async () => {
    const first = await client.chat.completions.create(inRome());
    const [choice] = first.choices;
    expect(choice).toMatchObject({
      finish_reason: "tool_calls",
      message: { role: "assistant", content: null, tool_calls: [romeCall("get_weather")] },
    });
    const second = await client.chat.completions.create({
      ...inRome(),
      messages: [
        ...inRome().messages,
        choice.message,
        { role: "tool", tool_call_id: choice.message.tool_calls![0].id, content: RESULT },
      ],
    });
    expect(second.choices[0].finish_reason).toBe("stop");
    expect(second.choices[0].message.content).toContain("21");
    // The second prompt begins with the first and its call, word for word.
    expect(second.usage!.prompt_tokens_details!.cached_tokens).toBe(
      16 * Math.floor((first.usage!.total_tokens - 1) / 16),
    );
    const generation = await settled(run, account.key, first.id);
    expect(generation).toMatchObject({ ending: "finished", finish_reason: "tool_calls" });
    expect(generation.usage.completion_tokens).toBe(first.usage!.completion_tokens);
  });

  it("gets the same call as a stream: id and name first, a piece of the arguments in each chunk after", async () => {
    const whole = await client.chat.completions.create(inRome());
    const stream = await client.chat.completions.create({
      ...inRome(),
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = await Array.fromAsync(stream);
    const pieces = chunks.flatMap((chunk) => chunk.choices[0]?.delta.tool_calls ?? []);
    expect(pieces[0]).toEqual({
      index: 0,
      ...romeCall("get_weather"),
      function: { name: "get_weather", arguments: "" },
    });
    for (const piece of pieces.slice(1))
      expect(piece).toEqual({ index: 0, function: { arguments: expect.any(String) } });
    expect(pieces.map((piece) => piece.function!.arguments).join("")).toBe('{"city":"Rome"}');
    expect(chunks.at(-2)!.choices[0].finish_reason).toBe("tool_calls");
    // What was cached differs: the whole answer came before.
    expect(chunks.at(-1)!.usage).toMatchObject({
      prompt_tokens: whole.usage!.prompt_tokens,
      completion_tokens: whole.usage!.completion_tokens,
    });
  });

  it.each([
    ["required", "get_weather"],
    [{ type: "function" as const, function: { name: "find_hotel" } }, "find_hotel"],
  ] as const)("is given a call by tool_choice %j, streamed and whole", async (tool_choice, name) => {
    const { choices } = await client.chat.completions.create({ ...inRome(), tool_choice });
    expect(choices[0].message.tool_calls).toEqual([romeCall(name)]);
    expect(choices[0].finish_reason).toBe("tool_calls");
    const streamed = await client.chat.completions.stream({ ...inRome(), tool_choice }).finalMessage();
    expect(streamed.tool_calls).toMatchObject([romeCall(name)]);
  });

  it("is given none by tool_choice none", async () => {
    const { choices } = await client.chat.completions.create({ ...inRome(), tool_choice: "none" });
    expect(choices[0].finish_reason).toBe("stop");
    expect(choices[0].message.tool_calls).toBeUndefined();
    expect(choices[0].message.content).not.toBe("");
  });

  it("has its runner call, answer and go on, streamed and whole", async () => {
    const asked: string[] = [];
    const runnable = {
      type: "function" as const,
      function: {
        name: "get_weather",
        description: "Get the current weather for a city.",
        parameters,
        parse: JSON.parse as (text: string) => { city: string },
        function: ({ city }: { city: string }) => {
          asked.push(city);
          return RESULT;
        },
      },
    };
    const body = { model, messages: inRome().messages, tools: [runnable] };
    expect(await client.chat.completions.runTools(body).finalContent()).toContain("21");
    expect(await client.chat.completions.runTools({ ...body, stream: true }).finalContent()).toContain("21");
    expect(asked).toEqual(["Rome", "Rome"]);
  });
});

describe("several answers", () => {
  const drawn = () => ({
    model,
    messages: [{ role: "user" as const, content: "Tell me something." }],
    temperature: 2,
    seed: 12,
    max_tokens: 12,
    n: 2,
  });

  const textsOf = (chunks: readonly ChatCompletionChunk[]) =>
    [0, 1].map((index) =>
      chunks
        .flatMap((chunk) => chunk.choices)
        .map((choice) => (choice.index === index ? (choice.delta.content ?? "") : ""))
        .join(""),
    );

  it("come whole and streamed, each with its finish, counted together", async () => {
    const whole = await client.chat.completions.create(drawn());
    expect(whole.choices.map(({ index }) => index)).toEqual([0, 1]);
    const texts = whole.choices.map(({ message }) => message.content);
    expect(texts[0]).not.toBe(texts[1]);
    const alone = await client.chat.completions.create({ ...drawn(), n: 1 });
    expect(alone.choices[0].message.content).toBe(texts[0]);
    expect(whole.usage!.prompt_tokens).toBe(alone.usage!.prompt_tokens);
    expect(whole.usage!.completion_tokens).toBeGreaterThan(alone.usage!.completion_tokens);

    const chunks = await Array.fromAsync(await client.chat.completions.create({ ...drawn(), stream: true }));
    expect(textsOf(chunks)).toEqual(texts);
    const finishes = chunks.flatMap((chunk) => chunk.choices).filter((choice) => choice.finish_reason);
    expect(finishes.map(({ index, finish_reason }) => [index, finish_reason])).toEqual(
      whole.choices.map(({ index, finish_reason }) => [index, finish_reason]),
    );
    expect(chunks.filter((chunk) => chunk.usage)).toEqual([chunks.at(-1)]);
    expect(chunks.at(-1)!.usage!.completion_tokens).toBe(whole.usage!.completion_tokens);
  });

  it("each call where tools must be called, with an end of its own", async () => {
    const stream = await client.chat.completions.create({
      ...inRome(),
      tool_choice: "required",
      n: 2,
      stream: true,
    });
    const choices = (await Array.fromAsync(stream)).flatMap((chunk) => chunk.choices);
    for (const index of [0, 1]) {
      const own = choices.filter((choice) => choice.index === index);
      expect(own[0].delta.role).toBe("assistant");
      expect(own.flatMap(({ delta }) => delta.tool_calls ?? [])[0].function!.name).toBe("get_weather");
      expect(own.at(-1)!.finish_reason).toBe("tool_calls");
    }
  });

  it("with a seed and penalties are the same twice, and other than without", async () => {
    const penalised = { ...drawn(), n: 1, presence_penalty: 1.5, frequency_penalty: 1.5, max_tokens: 40 };
    const body = { ...penalised, top_k: 40 } as typeof penalised;
    const [first, second] = await Promise.all([1, 2].map(() => client.chat.completions.create(body)));
    expect(first.choices[0].message.content).toBe(second.choices[0].message.content);
    const free = await client.chat.completions.create({
      ...body,
      presence_penalty: 0,
      frequency_penalty: 0,
    });
    expect(first.choices[0].message.content).not.toBe(free.choices[0].message.content);
  });

  it("that the client leaves are billed for what the engine had generated of both", async () => {
    const stop = new AbortController();
    const stream = await client.chat.completions.create(
      { ...drawn(), max_tokens: 2_000, temperature: 1, stream: true },
      { signal: stop.signal },
    );
    let id = "";
    const seen = new Set<number>();
    for await (const chunk of stream) {
      id = chunk.id;
      if (chunk.choices[0].delta.content) seen.add(chunk.choices[0].index);
      if (seen.size === 2) stop.abort();
    }
    const generation = await settled(run, account.key, id);
    expect(["client_left", "finished"]).toContain(generation.ending);
    const response = await fetch(
      `${run.backends[0].url}/causeway/v1/attempts/${generation.attempts.at(-1)!.id}`,
      { headers: { authorization: `Bearer ${run.backendSecret}` } },
    );
    const report = (await response.json()) as { completion_tokens: number };
    expect(generation.usage.completion_tokens).toBe(report.completion_tokens);
    expect(report.completion_tokens).toBeGreaterThanOrEqual(2);
  });
});

describe("other clients", () => {
  it("the AI SDK calls, answers and sees its usage, streamed and whole", async () => {
    const provider = createOpenAICompatible({
      name: "causeway",
      baseURL: `${run.url}/v1`,
      apiKey: account.key,
    });
    const asked: string[] = [];
    const settings = {
      model: provider(model),
      prompt: QUESTION,
      tools: {
        get_weather: tool({
          description: "Get the current weather for a city.",
          inputSchema: jsonSchema<{ city: string }>(parameters),
          execute: async ({ city }) => {
            asked.push(city);
            return { temperature: 21, sky: "clear" };
          },
        }),
      },
      stopWhen: isStepCount(3),
      maxRetries: 0,
    };
    const whole = await generateText(settings);
    expect(whole.text).toContain("21");
    expect(whole.steps.map(({ finishReason }) => finishReason)).toEqual(["tool-calls", "stop"]);
    expect(whole.totalUsage.inputTokens).toBeGreaterThan(0);
    expect(whole.totalUsage.outputTokens).toBeGreaterThan(0);

    const streamed = streamText(settings);
    let text = "";
    for await (const piece of streamed.textStream) text += piece;
    expect(text).toContain("21");
    // It does not ask for usage, and reads it on the finish.
    const usage = await streamed.totalUsage;
    expect([usage.inputTokens, usage.outputTokens]).toEqual([
      whole.totalUsage.inputTokens,
      whole.totalUsage.outputTokens,
    ]);
    expect(asked).toEqual(["Rome", "Rome"]);
  });

  it("LangChain binds tools, calls, and answers", async () => {
    const chat = new ChatOpenAI({
      model,
      apiKey: account.key,
      configuration: { baseURL: `${run.url}/v1` },
      maxRetries: 0,
    }).bindTools(tools);
    const question = new HumanMessage(QUESTION);
    const called = await chat.invoke([question]);
    expect(called.tool_calls).toMatchObject([{ name: "get_weather", args: { city: "Rome" } }]);
    const result = new ToolMessage({ tool_call_id: called.tool_calls![0].id!, content: RESULT });
    const answer = await chat.invoke([question, called, result]);
    expect(answer.text).toContain("21");
    expect(answer.usage_metadata!.input_tokens).toBeGreaterThan(0);
  });
});

it("the list of models says what is served", async () => {
  const { data } = await read<{ data: { supported_parameters: string[] }[] }>(run, account.key, "/v1/models");
  const says = data[0].supported_parameters;
  const served = ["tools", "tool_choice", "parallel_tool_calls", "n", "presence_penalty", "top_k", "seed"];
  expect(says).toEqual(expect.arrayContaining(served));
  for (const field of ["response_format", "structured_outputs", "min_p", "logprobs"]) {
    expect(says).not.toContain(field);
    const body = { ...inRome(), [field]: field === "response_format" ? { type: "json_object" } : 0.5 };
    const response = await ask(run, account.key, body);
    if (field === "structured_outputs") {
      expect(response.headers.get("x-causeway-ignored")).toBe(field);
      await response.body?.cancel();
    } else expect(await response.json()).toMatchObject({ error: { param: field } });
  }
});
