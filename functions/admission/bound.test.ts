/** Never under-hold: whatever a request says and however a template writes it, its bytes are in the bound. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ChatRequest, parseChatRequest } from "../surfaces/openai/schema.ts";
import { inputBound, outputBound, outputOfEach, utf8Length } from "./bound.ts";

const text = fc.oneof(fc.string({ unit: "binary" }), fc.string(), fc.constantFrom("<b>&'", "漢字", "🙂"));
const name = fc.string({ unit: "grapheme", minLength: 1, maxLength: 10 });
const json = fc.jsonValue({ maxDepth: 4, stringUnit: "grapheme" });
const object = fc.dictionary(fc.string(), json, { maxKeys: 5 });
const tool = fc.record({ name, description: text, parameters: object });
const call = fc.record({ id: name, name, arguments: object.map((value) => JSON.stringify(value)) });
const message = fc.oneof(
  fc.record({ role: fc.constant("user"), content: text }),
  fc.record({
    role: fc.constant("assistant"),
    content: fc.oneof(text, fc.constant(null)),
    reasoning_content: text,
    tool_calls: fc.array(
      call.map(({ id, ...called }) => ({ id, function: called })),
      { maxLength: 3 },
    ),
  }),
  fc.record({ role: fc.constant("tool"), content: text, tool_call_id: name }),
);
const request = fc
  .record({
    messages: fc.array(message, { minLength: 1, maxLength: 5 }),
    tools: fc.array(
      tool.map((told) => ({ type: "function", function: told })),
      { maxLength: 4 },
    ),
  })
  .map((body) => parseChatRequest({ model: "m", ...body }) as ChatRequest);

const escaped = (written: string) =>
  written.replace(
    /[^\u0020-\u007e\n]|[<>&']/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
/** As Python writes it without indentation. */
const spaced = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(spaced).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([key, each]) => `${JSON.stringify(key)}: ${spaced(each)}`)
    .join(", ")}}`;
};
/** Ways in which templates write JSON. */
const writers: readonly ((value: unknown) => string)[] = [
  (value) => JSON.stringify(value),
  spaced,
  (value) => JSON.stringify(value, null, 4),
  (value) => escaped(JSON.stringify(value, null, 4)),
  (value) => escaped(spaced(value)),
];

describe("the bound of a prompt", () => {
  it("has all bytes of messages, calls and tools, in whichever way they are written", () => {
    fc.assert(
      fc.property(request, (asked) => {
        const bound = inputBound(asked, Number.MAX_SAFE_INTEGER);
        for (const [at, write] of writers.entries()) {
          // Tools may be indented; arguments are written in a line.
          const inLine = at === 0 ? write : at < 3 ? spaced : writers[4]!;
          let bytes = 0;
          for (const told of asked.tools) bytes += utf8Length(write(told));
          for (const { role, content, reasoning = "", toolCalls = [], toolCallId = "" } of asked.messages) {
            bytes += utf8Length(role + content + reasoning + toolCallId);
            for (const made of toolCalls)
              bytes += utf8Length(made.id + made.name + inLine(JSON.parse(made.arguments)));
          }
          expect(bytes).toBeLessThanOrEqual(bound);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("grows with each tool, and stops at the context", () => {
    const asked = (tools: number) =>
      parseChatRequest({
        model: "m",
        messages: [{ role: "user", content: "Hi" }],
        tools: Array.from({ length: tools }, (_, i) => ({ type: "function", function: { name: `f${i}` } })),
      }) as ChatRequest;
    const [none, one, two] = [0, 1, 2].map((tools) => inputBound(asked(tools), 1_000_000)) as [
      number,
      number,
      number,
    ];
    expect(none).toBeLessThan(100);
    expect(one - none).toBeGreaterThan(1_000);
    expect(two - one).toBeGreaterThan(64);
    expect(inputBound(asked(500), 4_096)).toBe(4_096);
  });
});

it("the bound of the output is each answer's, as many times as answers were asked for", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 8 }),
      fc.option(fc.integer({ min: 1, max: 1_000_000 }), { nil: undefined }),
      fc.integer({ min: 1, max: 200_000 }),
      (n, maxTokens, contextLength) => {
        const maxOutput = outputBound({ maxTokens, n }, 512, contextLength);
        const each = outputOfEach({ maxOutput }, { n });
        expect(each).toBe(Math.min(maxTokens ?? 512, contextLength));
        expect(n * each).toBe(maxOutput);
      },
    ),
  );
});
