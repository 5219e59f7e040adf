import { EventEmitter } from "node:events";
import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { heartbeatMs, StreamedAnswer } from "./answer.ts";
import { ApiError } from "./error.ts";

const stamp = { id: "chatcmpl-1", model: "m", created: 7 };
const usage = { promptTokens: 1, cachedTokens: 0, completionTokens: 2 };

class FakeResponse extends EventEmitter {
  headersSent = false;
  destroyed = false;
  written: string[] = [];
  writeHead() {
    this.headersSent = true;
  }
  write(text: string) {
    this.written.push(text);
  }
  end(text = "") {
    this.written.push(text);
    this.emit("close");
  }
  destroy() {
    this.destroyed = true;
    this.emit("close");
  }
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function answer(edgeTail: boolean) {
  const response = new FakeResponse();
  const options = { includeUsage: false, edgeTail };
  return { response, answer: new StreamedAnswer(response as unknown as ServerResponse, stamp, options) };
}

const comments = (response: FakeResponse) =>
  response.written.filter((text) => text === ": at work\n\n").length;

it.each([false, true])(
  "beats each second without a byte, from the first token on (edge's tail: %s)",
  (edgeTail) => {
    const { response, answer: stream } = answer(edgeTail);
    vi.advanceTimersByTime(10 * heartbeatMs);
    expect(response.written).toEqual([]);
    stream.token(0, [{ kind: "content", text: "a" }]);
    vi.advanceTimersByTime(heartbeatMs - 1);
    stream.token(0, [{ kind: "content", text: "b" }]);
    vi.advanceTimersByTime(heartbeatMs - 1);
    expect(comments(response)).toBe(0);
    vi.advanceTimersByTime(1);
    expect(comments(response)).toBe(1);
    vi.advanceTimersByTime(2 * heartbeatMs);
    expect(comments(response)).toBe(3);
  },
);

it("beats while tokens come that nothing can be written for", () => {
  const { response, answer: stream } = answer(true);
  stream.token(0, [{ kind: "content", text: "a" }]);
  for (let i = 0; i < 10; i++) {
    vi.advanceTimersByTime(heartbeatMs / 4);
    stream.token(0, []);
  }
  expect(comments(response)).toBe(2);
});

it.each<[string, (stream: StreamedAnswer, response: FakeResponse) => void]>([
  ["finished", (stream) => stream.end(usage)],
  ["failed", (stream) => stream.fail(new ApiError(500, "engine_error", ""))],
  ["was left by its client", (_, response) => response.destroy()],
])("stops when the answer %s", (_, end) => {
  const { response, answer: stream } = answer(false);
  stream.token(0, [{ kind: "content", text: "a" }]);
  end(stream, response);
  vi.advanceTimersByTime(10 * heartbeatMs);
  expect(comments(response)).toBe(0);
  expect(vi.getTimerCount()).toBe(0);
});
