/** Every way in which servers were seen to stream calls, and some in which they were not. */
import { describe, expect, it } from "vitest";
import type { EngineEvent } from "../run.ts";
import { dialects } from "./by-kind.ts";
import { Events } from "./events.ts";

type Sent = Record<string, unknown>;

/** What is made of these chunks' `tool_calls`, and then of this reason. */
function eventsOf(chunks: readonly Sent[][], reason = "tool_calls"): EngineEvent[] {
  const events = new Events(dialects.openai, 1);
  return [
    ...chunks.map((tool_calls) => ({ delta: { tool_calls } })),
    { delta: {}, finish_reason: reason },
  ].flatMap((choice) => events.of(JSON.stringify({ choices: [{ index: 0, ...choice }] })));
}
const toolsOf = (chunks: readonly Sent[][]) =>
  eventsOf(chunks).flatMap((event) => (event.type === "delta" ? (event.tool ?? []) : []));
const fn = (name: string | null | undefined, args?: unknown) => ({ function: { name, arguments: args } });
const made = expect.stringMatching(/^call_[0-9A-HJKMNP-TV-Z]{26}$/);

describe("tool calls", () => {
  it.each<[string, Sent[][], object[]]>([
    [
      "in two pieces each, one after the other",
      [
        [{ index: 0, id: "a", ...fn("f", "") }],
        [{ index: 0, ...fn(null, "{}") }],
        [{ index: 1, id: "b", ...fn("g", "") }],
        [{ index: 1, ...fn(undefined, "[]") }],
      ],
      [
        { index: 0, id: "a", name: "f", arguments: "" },
        { index: 0, arguments: "{}" },
        { index: 1, id: "b", name: "g", arguments: "" },
        { index: 1, arguments: "[]" },
      ],
    ],
    [
      "several in one chunk, and mixed",
      [
        [
          { index: 0, id: "a", ...fn("f", "{") },
          { index: 1, id: "b", ...fn("g", "[") },
        ],
        [
          { index: 1, ...fn(undefined, "]") },
          { index: 0, ...fn(undefined, "}") },
        ],
      ],
      [
        { index: 0, id: "a", name: "f", arguments: "{" },
        { index: 1, id: "b", name: "g", arguments: "[" },
        { index: 1, arguments: "]" },
        { index: 0, arguments: "}" },
      ],
    ],
    [
      "that count from elsewhere",
      [[{ index: 1, id: "a", ...fn("f", "{}") }], [{ index: 5, id: "b", ...fn("g", "{}") }]],
      [
        { index: 0, id: "a", name: "f", arguments: "{}" },
        { index: 1, id: "b", name: "g", arguments: "{}" },
      ],
    ],
    [
      "each counted as the first",
      [[{ index: 0, id: "a", ...fn("f", "{}") }], [{ index: 0, id: "b", ...fn("f", "{}") }]],
      [
        { index: 0, id: "a", name: "f", arguments: "{}" },
        { index: 1, id: "b", name: "f", arguments: "{}" },
      ],
    ],
    [
      "with id and name in every piece",
      [[{ index: 0, id: "a", ...fn("f", "{") }], [{ index: 0, id: "a", ...fn("f", "}") }]],
      [
        { index: 0, id: "a", name: "f", arguments: "{" },
        { index: 0, arguments: "}" },
      ],
    ],
    [
      "without ids",
      [[{ index: 0, ...fn("f", "{}") }], [{ index: 1, id: "", ...fn("f", "{}") }]],
      [
        { index: 0, id: made, name: "f", arguments: "{}" },
        { index: 1, id: made, name: "f", arguments: "{}" },
      ],
    ],
    [
      "without indices",
      [
        [{ id: "a", ...fn("f", "{") }],
        [fn(undefined, "}")],
        [{ id: "b", ...fn("f", "{}") }],
        [{ id: "a", ...fn(undefined, " ") }],
      ],
      [
        { index: 0, id: "a", name: "f", arguments: "{" },
        { index: 0, arguments: "}" },
        { index: 1, id: "b", name: "f", arguments: "{}" },
        { index: 0, arguments: " " },
      ],
    ],
    [
      "with arguments before the name",
      [[{ index: 0, ...fn(undefined, "{") }], [{ index: 0, id: "a", ...fn("f", "}") }]],
      [{ index: 0, id: "a", name: "f", arguments: "{}" }],
    ],
    [
      "with arguments as an object, or none",
      [[{ index: 0, id: "a", ...fn("f", { x: 1 }) }], [{ index: 1, id: "b", ...fn("g", null) }]],
      [
        { index: 0, id: "a", name: "f", arguments: '{"x":1}' },
        { index: 1, id: "b", name: "g", arguments: "" },
      ],
    ],
  ])("%s", (_, chunks, tools) => {
    expect(toolsOf(chunks)).toEqual(tools);
    expect(eventsOf(chunks).at(-1)).toEqual({ type: "finish", choice: 0, reason: "tool_calls" });
  });

  it("of odd types say nothing", () => {
    const events = new Events(dialects.openai, 1);
    for (const tool_calls of ["f", {}, [null, 5, "f", []]])
      expect(events.of(JSON.stringify({ choices: [{ delta: { tool_calls } }] }))).toEqual([]);
    for (const index of [-1, 0.5, "0", "length", 1, 1e9])
      expect(events.of(JSON.stringify({ choices: [{ index, delta: { content: "x" } }] }))).toEqual([]);
  });

  it("that are never named are no calls: the answer has failed", () => {
    expect(eventsOf([[{ index: 0, id: "a", ...fn(undefined, "{}") }]])).toEqual([
      { type: "error", message: "the backend called a tool and did not name it" },
    ]);
  });

  it.each([
    ["stop", 1, "tool_calls"],
    ["function_call", 1, "tool_calls"],
    ["length", 1, "length"],
    ["content_filter", 1, "content_filter"],
    ["tool_calls", 0, "stop"],
    ["stop", 0, "stop"],
  ])("that end with %s, %i of them, end with %s", (said, calls, reason) => {
    const chunks = calls ? [[{ index: 0, id: "a", ...fn("f", "{}") }]] : [];
    expect(eventsOf(chunks, said).at(-1)).toEqual({ type: "finish", choice: 0, reason });
  });

  it("end once a choice", () => {
    const events = new Events(dialects.openai, 2);
    const finish = (index: number) =>
      events.of(JSON.stringify({ choices: [{ index, delta: {}, finish_reason: "stop" }] })).length;
    expect([finish(0), finish(0), events.areFinished, finish(1), events.areFinished]).toEqual([
      1,
      0,
      false,
      1,
      true,
    ]);
  });

  it("go out in as many characters as came in, whatever the pieces: a step a piece", () => {
    const written = (pieces: number) => {
      const chunks = Array.from({ length: pieces }, (_, at) => [
        at % 2
          ? { index: 1, ...fn(at < pieces / 2 ? undefined : "g", "xy") }
          : { index: 0, id: "a", ...fn("f", "xy") },
      ]);
      return JSON.stringify(toolsOf(chunks)).length;
    };
    expect(written(4_000) / written(2_000)).toBeLessThanOrEqual(2.3);
  });
});

it("a count says how many deltas came with it, and a running one whose it is", () => {
  const events = new Events(dialects.vllm, 2);
  const delta = { content: "a", reasoning: "b", tool_calls: [{ index: 0, id: "a", ...fn("f", "") }] };
  const usage = { prompt_tokens: 1, completion_tokens: 2 };
  const [count, ...deltas] = events.of(JSON.stringify({ choices: [{ index: 1, delta }], usage }));
  expect(count).toMatchObject({ type: "usage", final: false, choice: 1, covers: 3 });
  expect(deltas.length).toBe(3);
  expect(events.of(JSON.stringify({ choices: [], usage }))[0]).toMatchObject({ final: true, covers: 0 });
  expect(events.of(JSON.stringify({ choices: [], usage }))[0]).not.toHaveProperty("choice");
});
