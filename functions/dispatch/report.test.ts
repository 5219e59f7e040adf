import { afterEach, describe, expect, it, vi } from "vitest";
import type { Backend } from "../fleet/snapshot.ts";
import type { AttemptId } from "../ids.ts";
import { type AttemptReport, askReport, attemptUrl, awaitReport, hasEnded } from "./report.ts";

const backend = { kind: "causeway", url: "http://backend.test/base/", secret: "the-bearer" } as Backend;
const attempt: AttemptId = "req_01ARZ3NDEKTSV4RRFFQ69G5FAV.1";
const bound = { maxInput: 100, maxOutput: 50 };
const done = {
  state: "done",
  prompt_tokens: 30,
  cached_tokens: 10,
  completion_tokens: 12,
  finish_reason: "stop",
};

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Answers the next requests with this, and keeps what was asked. */
function answering(answer: (signal: AbortSignal) => Response | Promise<Response>): Request[] {
  const asked: Request[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const request = new Request(input as RequestInfo, init);
    asked.push(request);
    return answer(request.signal);
  });
  return asked;
}

const ask = (how?: "now" | "abort") => askReport(backend, attempt, bound, new AbortController().signal, how);

/** A body that stays open until it is cut, whose bytes a test sends one by one. */
function openBody() {
  let send!: (text: string) => void;
  let close!: () => void;
  const body = (signal: AbortSignal) =>
    new ReadableStream<Uint8Array>({
      start(controller) {
        send = (text) => controller.enqueue(new TextEncoder().encode(text));
        close = () => controller.close();
        signal.addEventListener("abort", () => controller.error(signal.reason));
      },
    });
  return { body, send: (text: string) => send(text), close: () => close() };
}

describe("an attempt's report", () => {
  it("is asked of the backend by the attempt's id, with its bearer", async () => {
    const asked = answering(() => Response.json(done));
    expect(await ask()).toEqual({
      state: "done",
      finishReason: "stop",
      finishReasons: ["stop"],
      usage: { input: 20, cachedInput: 10, output: 12, reasoning: 0, source: "backend" },
      error: null,
    });
    expect(asked[0]!.method).toBe("GET");
    expect(asked[0]!.url).toBe(`http://backend.test/base/causeway/v1/attempts/${attempt}`);
    expect(asked[0]!.headers.get("authorization")).toBe("Bearer the-bearer");
    expect(asked[0]!.redirect).toBe("manual");
    expect(attemptUrl({ ...backend, url: "http://backend.test/base" }, attempt)).toBe(asked[0]!.url);
  });

  it("is asked with DELETE to abort the attempt", async () => {
    const asked = answering(() => Response.json({ ...done, state: "aborted" }));
    expect((await ask("abort"))?.state).toBe("aborted");
    expect(asked[0]!.method).toBe("DELETE");
  });

  it("that says nothing but its state is a report without a count", async () => {
    answering(() => Response.json({ state: "unknown" }, { status: 404 }));
    expect(await ask()).toEqual({
      state: "unknown",
      finishReason: null,
      finishReasons: [],
      usage: undefined,
      error: null,
    });
  });

  it.each([
    ["negative", { completion_tokens: -1 }],
    ["past the bound", { completion_tokens: 51 }],
    ["2^63", { prompt_tokens: 2 ** 63 }],
    ["a text", { prompt_tokens: "30" }],
    ["more cached than there are", { cached_tokens: 31 }],
    ["missing", { completion_tokens: undefined }],
  ])("with a count that is %s has none, and is a report all the same", async (_name, odd) => {
    answering(() => Response.json({ ...done, ...odd }));
    expect(await ask()).toMatchObject({ state: "done", usage: undefined });
  });

  it("keeps the backend's error code and nothing else that may stand there", async () => {
    answering(() =>
      Response.json({ ...done, state: "failed", error: { code: "out_of_memory", message: "long" } }),
    );
    expect((await ask())?.error).toBe("out_of_memory");
    answering(() => Response.json({ ...done, error: "text" }));
    expect(await ask()).toMatchObject({ state: "done", error: null });
  });

  it.each<[string, () => Response]>([
    ["401", () => new Response("{}", { status: 401 })],
    ["500, even with a report in it", () => Response.json(done, { status: 500 })],
    ["a redirect", () => new Response(null, { status: 307, headers: { location: "http://elsewhere.test" } })],
    ["nothing", () => new Response(null)],
    ["no JSON", () => new Response("<html>")],
    ["JSON that is no object", () => new Response("null")],
    ["a state that there is not", () => Response.json({ ...done, state: "finished" })],
    ["more than a report can be", () => Response.json({ ...done, padding: "x".repeat(20_000) })],
  ])("is not to be had from %s", async (_name, answer) => {
    answering(answer);
    expect(await ask()).toBeUndefined();
  });

  it("is not to be had from a backend that cannot be reached, or that stalls in the middle", async () => {
    answering(() => {
      throw new TypeError("connection refused");
    });
    expect(await ask()).toBeUndefined();

    const stalled = openBody();
    const late = new AbortController();
    answering((signal) => new Response(stalled.body(signal)));
    const asking = askReport(backend, attempt, bound, late.signal);
    late.abort();
    expect(await asking).toBeUndefined();
  });

  it("has ended when it is done, aborted or failed", () => {
    const ended = ["queued", "running", "done", "aborted", "failed", "unknown"].filter((state) =>
      hasEnded({ state } as AttemptReport),
    );
    expect(ended).toEqual(["done", "aborted", "failed"]);
  });
});

describe("waiting for an attempt's end", () => {
  const IDLE_MS = 20_000;

  function waiting() {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    const { body, send, close } = openBody();
    const asked = answering((signal) => new Response(body(signal)));
    const stop = new AbortController();
    const silent = vi.fn();
    const report = awaitReport(backend, attempt, bound, stop.signal, IDLE_MS, silent);
    return { asked, report, send, close, stop, silent };
  }

  it("reads the report that comes after the spaces, however long it takes", async () => {
    const { asked, report, send, close, silent } = waiting();
    for (let i = 0; i < 10; i++) {
      await vi.advanceTimersByTimeAsync(IDLE_MS - 1);
      send(" ");
    }
    await vi.advanceTimersByTimeAsync(0);
    send(JSON.stringify(done));
    close();
    expect(await report).toMatchObject({ state: "done", usage: { output: 12 } });
    expect(silent).not.toHaveBeenCalled();
    expect(asked[0]!.url).toMatch(/\?wait=end$/);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("gives up and says so when nothing at all comes for too long", async () => {
    const { report, send, silent } = waiting();
    await vi.advanceTimersByTimeAsync(0);
    send(" ");
    await vi.advanceTimersByTimeAsync(IDLE_MS);
    expect(await report).toBeUndefined();
    expect(silent).toHaveBeenCalledTimes(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("ends at once when it is not wanted any more, and that is no silence", async () => {
    const { report, stop, silent } = waiting();
    await vi.advanceTimersByTimeAsync(0);
    stop.abort();
    expect(await report).toBeUndefined();
    await vi.advanceTimersByTimeAsync(2 * IDLE_MS);
    expect(silent).not.toHaveBeenCalled();
  });
});
