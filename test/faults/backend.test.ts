/** A backend that dies, stalls or lies: a specific error, nothing hung, the bill of billing/README.md, nothing left open. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventsOf, type Faulty, startFaulty } from "../support/faulty.ts";
import {
  type Account,
  ask,
  audited,
  hello,
  newAccount,
  sell,
  settled,
  startUpstream,
} from "../support/platform.ts";
import type { Call, Upstream } from "../support/upstream.ts";

let edge: Faulty;
let account: Account;
/** Which way its answers take: our engine's streams are relayed, everything else is read. */
const KINDS = ["causeway", "openai"] as const;
type Kind = (typeof KINDS)[number];

beforeAll(async () => {
  edge = await startFaulty();
  account = await newAccount(edge.run, "100");
});
afterAll(async () => {
  if (!edge) return;
  const audit = await audited(edge.run, account.id);
  expect(audit.accounts[0]).toMatchObject({ held: "0", open_reservations: 0, findings: [] });
  await edge.run.stop();
});

let models = 0;

/** Asks a backend of its own (what one teaches the router is nothing to the next), and gives all that can be seen. */
async function run(
  kind: Kind,
  stream: boolean,
  behave: (call: Call) => unknown,
  reports: Upstream["reports"] = "kept",
) {
  const upstream = await startUpstream(behave);
  upstream.reports = reports;
  const model = `${kind}-${++models}`;
  await sell(edge.run, [upstream], model, kind);
  const response = await ask(edge.run, account.key, hello({ model, stream }));
  const text = await response.text();
  const generation = await settled(edge.run, account.key, response.headers.get("x-request-id")!);
  return { response, text, generation };
}

// At once: each has a backend of its own, and most of them wait.
describe.concurrent.each(KINDS)("through %s", (model) => {
  it.each([true, false])(
    "a backend that dies before its first token is a 502 and costs nothing (stream: %s)",
    async (stream) => {
      const { response, text, generation } = await run(model, stream, (call) => call.die());
      expect(response.status).toBe(502);
      expect(JSON.parse(text).error).toMatchObject({ type: "backend_error", code: "backend_failed" });
      expect(generation).toMatchObject({ ending: "backend_failed", cost_nanodollars: "0" });
    },
  );

  it("a stream that dies in the middle ends with an error event and no [DONE]", async () => {
    const { response, text, generation } = await run(model, true, async (call) => {
      call.token("half");
      await new Promise((resolve) => setTimeout(resolve, 100));
      call.die();
    });
    expect(response.status).toBe(200);
    const events = eventsOf(text);
    expect(events.at(-1)).toMatchObject({
      error: { code: "backend_failed" },
      choices: [{ finish_reason: "error" }],
    });
    expect(text).not.toContain("[DONE]");
    expect(generation.ending).toBe("backend_failed");
  });

  it("a whole answer that dies in the middle is a 502 and costs nothing: nothing was delivered", async () => {
    const { response, generation } = await run(model, false, (call) => {
      call.token("half");
      call.die();
    });
    expect(response.status).toBe(502);
    expect(generation).toMatchObject({ ending: "backend_failed", cost_nanodollars: "0" });
  });

  it("a stream that stalls ends with an error event", async () => {
    const { text } = await run(model, true, (call) => {
      call.silent = true;
      call.token("half");
    });
    expect(eventsOf(text).at(-1)).toMatchObject({ error: { code: "backend_failed" } });
  });

  it("a backend that never gives a token is a 504, and is told to stop", async () => {
    const { response, generation } = await run(model, false, () => {});
    expect(response.status).toBe(504);
    expect(generation).toMatchObject({ cost_nanodollars: "0", attempts: [{ outcome: "timed_out" }] });
  });

  it.each([
    [429, 429],
    [503, 503],
  ])("a busy backend (%i) is a 503 with Retry-After", async (status) => {
    const { response, generation } = await run(model, true, (call) =>
      call.refuse(status, {}, { "retry-after": "7" }),
    );
    expect(response.status).toBe(503);
    expect(response.headers.get("retry-after")).toBe("7");
    expect(generation).toMatchObject({ ending: "refused", cost_nanodollars: "0" });
  });

  it.each([401, 404, 409, 500])(
    "a backend that answers %i is a 502 that passes nothing of it on",
    async (status) => {
      const { response, text } = await run(model, true, (call) =>
        call.refuse(status, { error: { message: "/etc/secret" } }),
      );
      expect(response.status).toBe(502);
      expect(text).not.toContain("secret");
    },
  );

  it("a prompt that the backend finds too long is a 400 with the words that clients look for", async () => {
    const error = { message: "too long", code: "context_length_exceeded" };
    const { response, text } = await run(model, true, (call) => call.refuse(400, { error }));
    expect(response.status).toBe(400);
    expect(JSON.parse(text).error).toMatchObject({ code: "context_length_exceeded", param: "messages" });
    expect(JSON.parse(text).error.message).toContain("maximum context length");
  });
});

describe.concurrent("counts that cannot be", () => {
  const absurd: [string, unknown][] = [
    ["negative", -5],
    ["NaN", Number.NaN],
    ["a fraction", 1.5],
    ["beyond max_tokens", 1_000_000],
    ["2^53", 2 ** 53],
    ["a string", "12"],
    ["missing", undefined],
    ["null", null],
  ];

  it.each(absurd)(
    "on the relay, %s is a death without a count: an error event, no charge",
    async (_, value) => {
      const { text, generation } = await run("causeway", true, (call) => {
        call.token("x");
        call.report.completion_tokens = value;
        call.finish();
      });
      expect(eventsOf(text).at(-1)).toHaveProperty("error");
      expect(generation).toMatchObject({ ending: "backend_failed", cost_nanodollars: "0" });
    },
  );

  it.each(absurd)("on the reading path, %s makes the edge count by bytes", async (_, value) => {
    const { response, text, generation } = await run("openai", false, (call) => {
      call.token("twelve bytes");
      call.finish("stop", { prompt_tokens: 10, completion_tokens: value });
    });
    expect(response.status).toBe(200);
    expect(JSON.parse(text).choices[0].message.content).toBe("twelve bytes");
    expect(["edge", "estimate"]).toContain(generation.usage.source);
    expect(generation.usage.completion_tokens).toBeGreaterThan(0);
    expect(generation.usage.completion_tokens).toBeLessThanOrEqual(12);
  });

  it("more cached tokens than prompt tokens are not believed", async () => {
    const { generation } = await run("openai", true, (call) => {
      call.token("x");
      call.finish("stop", {
        prompt_tokens: 5,
        completion_tokens: 1,
        prompt_tokens_details: { cached_tokens: 9 },
      });
    });
    expect(generation.usage.cached_tokens).toBe(0);
    expect(["edge", "estimate"]).toContain(generation.usage.source);
  });

  it("usage sent twice counts once", async () => {
    const { generation } = await run("openai", true, (call) => {
      call.token("x");
      call.raw(`data: ${JSON.stringify({ choices: [], usage: call.usage() })}\n\n`);
      call.finish();
    });
    expect(generation.usage).toMatchObject({ prompt_tokens: 10, completion_tokens: 1, source: "backend" });
  });

  it("a report that is lost is a death without a count on the relay", async () => {
    const finishes = (call: Call) => {
      call.token("x");
      call.finish();
    };
    const { text, generation } = await run("causeway", true, finishes, "lost");
    expect(eventsOf(text).at(-1)).toHaveProperty("error");
    expect(generation).toMatchObject({ ending: "backend_failed", cost_nanodollars: "0" });
  });
});

describe.concurrent("a stream that is not what it should be", () => {
  /** What it sends last, and whether its connection then dies or ends. */
  const broken: [string, string | Uint8Array, "die" | "end"][] = [
    ["a bare end without a finish", "", "end"],
    ["[DONE] without a finish", "data: [DONE]\n\n", "end"],
    ["an error event and then [DONE]", 'data: {"error":{"message":"x"}}\n\ndata: [DONE]\n\n', "end"],
    ["something that is not JSON", "data: {oops\n\n", "end"],
    ["a cut in the middle of a line", 'data: {"choices":[{"de', "die"],
    ["a cut in the middle of a character", new Uint8Array([100, 97, 116, 97, 58, 32, 0xe2, 0x82]), "die"],
  ];
  it.each(broken)("%s ends in an error event", async (_, last, ending) => {
    const { text, generation } = await run("openai", true, async (call) => {
      call.token("x");
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (last.length > 0) call.raw(last);
      if (ending === "die") call.die();
      else call.end("failed");
    });
    expect(eventsOf(text).at(-1)).toHaveProperty("error");
    expect(text).not.toContain("[DONE]");
    expect(generation.ending).toBe("backend_failed");
  });

  it("any cutting and any line ending give the same answer, comments and unknown events included", async () => {
    const parts = (end: string) =>
      [
        ": hello",
        "",
        "event: weather",
        "data: rain",
        "",
        'data: {"choices":[{"delta":{"content":"na\u00efve \u20ac"}}]}',
        "",
        'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}',
        "",
        "data: [DONE]",
        "",
        "",
      ].join(end);
    for (const end of ["\n", "\r\n", "\r"]) {
      const { text } = await run("openai", false, async (call) => {
        for (const byte of Buffer.from(parts(end))) {
          call.raw(new Uint8Array([byte]));
          await new Promise((resolve) => setImmediate(resolve));
        }
        call.end("done", "stop");
      });
      expect(JSON.parse(text).choices[0].message.content).toBe("na\u00efve \u20ac");
    }
  });

  it("heartbeats without tokens do not keep an answer alive", async () => {
    const { response } = await run("openai", false, (call) => {
      const beat = setInterval(() => call.raw(": still here\n\n"), 200);
      call.left.then(() => clearInterval(beat));
    });
    expect(response.status).toBe(504);
  });

  it("a line without end is refused", async () => {
    const { response } = await run("openai", false, async (call) => {
      call.raw("data: ");
      for (let sent = 0; sent < 6 && !call.ended; sent++) {
        call.raw("x".repeat(1024 * 1024));
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    });
    expect(response.status).toBe(502);
  });
});
