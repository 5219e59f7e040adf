/** Bytes that are not what they should be: bounded, and never taken for an answer. */
import { describe, expect, it } from "vitest";
import { dialects } from "./dialects/by-kind.ts";
import { beginningOf, isCompressed, readEvents } from "./read.ts";
import type { EngineEvent } from "./run.ts";

const MiB = 1024 * 1024;
const generous = { firstMs: 20_000, idleMs: 20_000, maxBytes: 64 * MiB };
const encoder = new TextEncoder();

const chunk = (content: string) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`;
const FINISH = 'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n';
const USAGE = 'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n';
const DONE = "data: [DONE]\n\n";
const text = (said: string): EngineEvent => ({ type: "delta", choice: 0, text: said });
const failed = (message: string): EngineEvent => ({ type: "error", message });

type Last = "ends" | "is cut" | "hangs";

/** A body of these pieces; how many were asked for, and whether the reader let go of it. */
function bodyOf(pieces: Iterable<string | Uint8Array>, last: Last) {
  const rest = pieces[Symbol.iterator]();
  const seen = { pulls: 0, cancelled: false };
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const { value, done } = rest.next();
        seen.pulls += 1;
        if (!done) controller.enqueue(typeof value === "string" ? encoder.encode(value) : value);
        else if (last === "ends") controller.close();
        else if (last === "is cut") controller.error(new Error("reset"));
        else return new Promise<void>(() => {});
        return undefined;
      },
      cancel() {
        seen.cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
  return { body, seen };
}

async function read(pieces: Iterable<string | Uint8Array>, last: Last = "ends", limits = generous) {
  const { body, seen } = bodyOf(pieces, last);
  const events: EngineEvent[] = [];
  for await (const came of readEvents(body, limits, dialects.vllm, 1)) events.push(...came);
  return { events, seen };
}

function* forever(piece: string): Generator<string> {
  for (;;) yield piece;
}

describe("the reading path refuses", () => {
  it("a line without end, long before memory does", async () => {
    const { events, seen } = await read(
      (function* () {
        yield chunk("Hi");
        yield "data: ";
        yield* forever("x".repeat(256 * 1024));
      })(),
    );
    expect(events).toEqual([text("Hi"), failed("the backend sent a line without end")]);
    expect(seen.pulls).toBeLessThan(25);
    expect(seen.cancelled).toBe(true);
  });

  it("an event without end, made of short lines", async () => {
    const { events, seen } = await read(forever(`data: ${"x".repeat(256 * 1024)}\n`));
    expect(events).toEqual([failed("the backend sent a line without end")]);
    expect(seen.cancelled).toBe(true);
  });

  it("more bytes than any answer can hold, whatever they say", async () => {
    for (const piece of [chunk("x".repeat(1_000)), ": comment\n\n", "junk", "id: 1\n"]) {
      const { events, seen } = await read(forever(piece), "ends", { ...generous, maxBytes: 100_000 });
      expect(events.at(-1)).toEqual(failed("the backend sent more than any answer can hold"));
      expect(seen.cancelled).toBe(true);
    }
  });

  it.each([
    ["not JSON", "data: {oops\n\n", "the backend sent an event that is not JSON"],
    [
      "a raw control character in a string",
      'data: {"choices":"\u0001"}\n\n',
      "the backend sent an event that is not JSON",
    ],
    ["a number", "data: 5\n\n", "the backend sent an event that is no object"],
    ["null", "data: null\n\n", "the backend sent an event that is no object"],
    ["a list", "data: []\n\n", "the backend sent an event that is no object"],
    [
      "a reason with a line break",
      'data: {"choices":[{"delta":{},"finish_reason":"stop\\n\\ndata: x"}]}\n\n',
      "the backend ended with an unknown reason",
    ],
    [
      "an aborted answer",
      'data: {"choices":[{"delta":{},"finish_reason":"abort"}]}\n\n',
      "the backend ended with an unknown reason",
    ],
  ])("%s", async (_, sent, message) => {
    expect((await read([sent, DONE])).events).toEqual([failed(message)]);
  });
});

describe("the reading path does not mind", () => {
  it("events, deltas and choices of odd types: they say nothing", async () => {
    const odd = [
      "{}",
      '{"choices":{}}',
      '{"choices":[null,5,[]]}',
      '{"choices":[{}]}',
      '{"choices":[{"delta":null}]}',
      '{"choices":[{"delta":{"content":5,"reasoning":{}}}]}',
      '{"choices":[{"delta":{"content":null},"finish_reason":7}]}',
      '{"usage":"many","choices":[]}',
      '{"usage":[1],"choices":[]}',
      '{"error":null,"choices":[]}',
    ];
    const { events } = await read(odd.map((data) => `data: ${data}\n\n`));
    expect(events).toEqual([]);
  });

  it("comments, unknown events, ids, retries and a byte order mark", async () => {
    const { events } = await read([
      "\ufeff: hello\n\nid: \u0000\nretry: 5\nevent: weather\ndata: rain\n\n",
      `event: message\n${chunk("a")}unknown: x\n${chunk("b")}: ${"c".repeat(10_000)}\n`,
    ]);
    expect(events).toEqual([text("a"), text("b")]);
  });

  it("control characters in a text: they are text", async () => {
    const said = "\u0000\u0007\u001b[2J\r\n\ndata: [DONE]\n\n\u2028";
    expect((await read([chunk(said)])).events).toEqual([text(said)]);
  });

  it("bytes that are no UTF-8: they become the replacement character", async () => {
    const [head, tail] = chunk("|").split("|") as [string, string];
    const { events } = await read([head, new Uint8Array([0xff, 0xe2, 0x82]), tail]);
    expect(events).toEqual([text("\ufffd\ufffd")]);
  });

  it("LF, CRLF and CR", async () => {
    for (const end of ["\n", "\r\n", "\r"]) {
      const sent = (chunk("a") + chunk("b") + FINISH + DONE).replaceAll("\n", end);
      const { events } = await read(Array.from(encoder.encode(sent), (byte) => new Uint8Array([byte])));
      expect(events).toEqual([text("a"), text("b"), { type: "finish", choice: 0, reason: "stop" }]);
    }
  });

  it("anything after [DONE]", async () => {
    const { events, seen } = await read([chunk("a") + DONE + chunk("b")], "hangs");
    expect(events).toEqual([text("a")]);
    expect(seen.cancelled).toBe(true);
  });

  it("reasoning under both names at once: it comes once", async () => {
    const delta = { reasoning: "hm", reasoning_content: "hm", content: "so" };
    const { events } = await read([`data: ${JSON.stringify({ choices: [{ delta }] })}\n\n`]);
    expect(events).toEqual([{ type: "delta", choice: 0, reasoning: "hm" }, text("so")]);
  });
});

describe("an answer whose finish and count are out is complete", () => {
  const soon = { ...generous, idleMs: 50 };
  const said = [
    text("a"),
    { type: "finish", choice: 0, reason: "stop" },
    expect.objectContaining({ type: "usage" }),
  ];

  it.each<Last>(["ends", "is cut", "hangs"])("without [DONE], when the connection %s", async (last) => {
    expect((await read([chunk("a"), FINISH, USAGE], last, soon)).events).toEqual(said);
  });

  it.each<Last>(["is cut", "hangs"])("and is not without the count, when the connection %s", async (last) => {
    expect((await read([chunk("a"), FINISH], last, soon)).events.at(-1)?.type).toBe("error");
  });

  it("and is not without the finish, whatever was counted", async () => {
    expect((await read([chunk("a"), USAGE], "is cut", soon)).events.at(-1)?.type).toBe("error");
  });
});

describe("a backend without tokens is not alive", () => {
  function* beating(piece: string) {
    yield chunk("a");
    yield* forever(piece);
  }
  /** A heartbeat each few ms, as a stream that waits would give it. */
  async function* paced(pieces: Iterable<string>) {
    for (const piece of pieces) {
      yield encoder.encode(piece);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  it.each([
    ["comments", ": beat\n\n"],
    [
      "empty deltas with counts",
      'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n',
    ],
    ["roles", 'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'],
  ])("%s do not keep it so", async (_, beat) => {
    const events: EngineEvent[] = [];
    const body = (ReadableStream as any).from(paced(beating(beat))) as ReadableStream<Uint8Array>;
    for await (const came of readEvents(body, { ...generous, idleMs: 100 }, dialects.vllm, 1))
      events.push(...came);
    expect(events[0]?.type).toBe("delta");
    expect(events.at(-1)).toEqual({ ...failed("the backend sent no token for too long"), late: true });
  });

  it("from the start on", async () => {
    const { events, seen } = await read([], "hangs", { ...generous, firstMs: 30 });
    expect(events).toEqual([{ ...failed("the backend sent no token for too long"), late: true }]);
    expect(seen.cancelled).toBe(true);
  });
});

describe("a body that is refused", () => {
  it("is compressed when it says so, whatever the case", () => {
    const says = (encoding?: string) =>
      isCompressed(new Headers(encoding === undefined ? {} : { "content-encoding": encoding }));
    expect(["gzip", "br", "GZIP", "deflate", "identity, gzip", "zstd"].map(says)).not.toContain(false);
    expect([undefined, "", "identity", "Identity"].map(says)).not.toContain(true);
  });

  it("is read to a limit and let go", async () => {
    const { body, seen } = bodyOf(forever("x".repeat(1_000)), "ends");
    expect((await beginningOf(new Response(body), 2_500)).length).toBe(2_500);
    expect(seen).toEqual({ pulls: 3, cancelled: true });
  });

  it("says what it could before it was cut", async () => {
    const { body } = bodyOf(["some ", "words"], "is cut");
    expect(await beginningOf(new Response(body), 2_500)).toBe("some words");
    expect(await beginningOf(new Response(null), 2_500)).toBe("");
  });
});
