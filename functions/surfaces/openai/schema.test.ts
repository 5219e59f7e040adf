/** What a request may say, field by field; what is refused over HTTP is in test/faults/bad-input.test.ts. */
import { describe, expect, it } from "vitest";
import type { ApiError } from "../../errors.ts";
import { type ChatRequest, parseChatRequest } from "./schema.ts";

const base = { model: "m", messages: [{ role: "user", content: "Hello" }] };
const parsed = (more: object) => parseChatRequest({ ...base, ...more }) as ChatRequest;
const refused = (more: object) => parseChatRequest({ ...base, ...more }) as ApiError;
const tool = (name: string, parameters?: object) => ({ type: "function", function: { name, parameters } });

/** Objects in objects, the innermost empty. */
const nested = (depth: number): object => {
  let value = {};
  for (let level = 1; level < depth; level++) value = { x: value };
  return value;
};

describe("messages", () => {
  it("carry calls, what they gave, thoughts, and parts", () => {
    const { messages } = parsed({
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "a" },
            { type: "text", text: "b" },
          ],
        },
        { role: "developer", content: "late" },
        {
          role: "assistant",
          content: null,
          reasoning_content: "hm",
          tool_calls: [{ id: "c1", type: "function", index: 0, function: { name: "f", arguments: "{}" } }],
        },
        { role: "tool", tool_call_id: "c1", content: [{ type: "text", text: "21" }] },
        { role: "assistant", content: "so", reasoning: "other name", tool_calls: [] },
      ],
    });
    expect(messages).toEqual([
      { role: "user", content: "ab" },
      { role: "developer", content: "late" },
      {
        role: "assistant",
        content: "",
        reasoning: "hm",
        toolCalls: [{ id: "c1", name: "f", arguments: "{}" }],
      },
      { role: "tool", content: "21", toolCallId: "c1" },
      { role: "assistant", content: "so", reasoning: "other name" },
    ]);
  });
});

describe("tools", () => {
  it("of other types are left out and named once", () => {
    const { tools, ignored } = parsed({
      tools: [{ type: "web_search" }, tool("f"), { type: "namespace", name: "n" }, { type: "web_search" }],
    });
    expect(tools).toEqual([{ type: "function", function: { name: "f" } }]);
    expect(ignored).toEqual(["tools.web_search", "tools.namespace"]);
  });

  it("keep only the listed fields", () => {
    const sent = {
      type: "function",
      cache_control: {},
      function: { name: "f", description: "d", strict: false, parameters: { type: "object" }, code: "x" },
    };
    expect(parsed({ tools: [sent] }).tools).toEqual([
      {
        type: "function",
        function: { name: "f", description: "d", strict: false, parameters: { type: "object" } },
      },
    ]);
  });

  it.each<[unknown, unknown, string[]]>([
    [undefined, "auto", ["f", "g"]],
    ["auto", "auto", ["f", "g"]],
    ["none", "none", ["f", "g"]],
    ["required", "required", ["f", "g"]],
    [{ type: "function", function: { name: "g" } }, { name: "g" }, ["f", "g"]],
    [{ type: "function", name: "g" }, { name: "g" }, ["f", "g"]],
    [
      { type: "allowed_tools", allowed_tools: { mode: "required", tools: [tool("g"), { type: "mcp" }] } },
      "required",
      ["g"],
    ],
  ])("chosen by %j", (tool_choice, toolChoice, names) => {
    const request = parsed({ tools: [tool("f"), tool("g")], tool_choice });
    expect(request.toolChoice).toEqual(toolChoice);
    expect(request.tools.map((one) => one.function.name)).toEqual(names);
  });

  it("that must be called have schemas that can be compiled; others need not", () => {
    const tools = [tool("f", { properties: { text: { type: "string", maxLength: 1_000_000 } } })];
    expect(parsed({ tools }).tools.length).toBe(1);
    expect(refused({ tools, tool_choice: "required" }).param).toBe("tools.0.function.parameters");
  });
});

describe("what not every backend serves", () => {
  it("is needed where it is no default", () => {
    const format = { type: "json_object" };
    expect(parsed({ top_k: 5, min_p: 0.1, repetition_penalty: 1.2, response_format: format }).needs).toEqual([
      "top_k",
      "min_p",
      "repetition_penalty",
      "response_format",
    ]);
    const defaults = { top_k: -1, min_p: 0, repetition_penalty: 1, response_format: { type: "text" } };
    expect(parsed(defaults).needs).toEqual([]);
  });
});

describe("a schema that an answer must follow", () => {
  const asked = (schema: object) =>
    parseChatRequest({
      ...base,
      response_format: { type: "json_schema", json_schema: { name: "n", schema, strict: true, extra: 1 } },
    });
  const passes = (schema: object) => "needs" in asked(schema);

  it("goes on as it is, without what is not listed", () => {
    const schema = { type: "object", properties: { ok: { type: "boolean" } } };
    expect((asked(schema) as ChatRequest).responseFormat).toEqual({
      type: "json_schema",
      json_schema: { name: "n", schema, strict: true },
    });
  });

  const list = (items: object, maxItems: number) => ({ type: "array", maxItems, items });
  const text = { type: "string" };
  // Each doubles the one before: 2^30 written out.
  const doubling = {
    $ref: "#/$defs/d30",
    $defs: Object.fromEntries(
      Array.from({ length: 31 }, (_, i) => {
        const before = { $ref: `#/$defs/d${i - 1}` };
        return [`d${i}`, i === 0 ? text : { anyOf: [before, before] }];
      }),
    ),
  };
  const tree = { $defs: { node: { properties: { left: { $ref: "#/$defs/node" }, right: { $ref: "#" } } } } };

  it.each<[string, object, boolean]>([
    ["a list of some", list(text, 1_000), true],
    ["a list of lists", list(list(text, 1_000), 1_000), false],
    ["a long text", { type: "string", minLength: 1e6 }, false],
    ["a date's pattern", { pattern: "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}$" }, true],
    ["a pattern in a pattern", { pattern: "((a{1000}){1000}){1000}" }, false],
    ["a pattern for a name", { patternProperties: { "(a{999}){999}": text } }, false],
    ["a long pattern", { pattern: "a".repeat(1_001) }, false],
    ["references that double", doubling, false],
    ["a tree that refers to itself", tree, true],
    ["a reference out of it", { $ref: "https://example.com/schema" }, false],
    ["a reference to nothing", { $ref: "#/$defs/none" }, false],
    ["a property that is called maxItems", { properties: { maxItems: { type: "number" } } }, true],
    ["data that looks like a limit", { enum: [{ maxLength: 1e9 }] }, true],
    ["a depth of 63", nested(63), true],
    ["a depth of 65", nested(65), false],
    ["10,001 values", { enum: new Array(10_000).fill(1) }, false],
    ["a text of 128 KiB", { description: "x".repeat(128 * 1024) }, false],
  ])("%s: %s", (_, schema, isFine) => {
    expect(passes(schema)).toBe(isFine);
  });

  it("a depth of 100,000: false, without a stack as deep", () => {
    expect(passes(nested(100_000))).toBe(false);
  });
});
