import { EventEmitter } from "node:events";
import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Answer } from "./answer.ts";
import { Attempts } from "./attempts.ts";
import { lastReadMs, maxUnreadBytes, whileRead } from "./reader.ts";

class FakeResponse extends EventEmitter {
  writableLength = 0;
  readonly destroy = vi.fn(() => this.emit("close"));
}

function setUp() {
  const response = new FakeResponse();
  const attempts = new Attempts("boot", () => 0);
  const attempt = attempts.begin("a", 0);
  attempt.abort = vi.fn((problem) => attempts.end(attempt, { state: "aborted", error: problem }));
  const inner: Answer = { token: vi.fn(), finish: vi.fn(), end: vi.fn(), fail: vi.fn() };
  return {
    response,
    attempts,
    attempt,
    inner,
    answer: whileRead(inner, response as unknown as ServerResponse, attempt),
  };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a client that does not read", () => {
  it("is borne up to 8 MiB, then its attempt is aborted and its connection closed", () => {
    const { response, attempt, inner, answer } = setUp();
    response.writableLength = maxUnreadBytes;
    answer.token(0, []);
    expect(attempt.abort).not.toHaveBeenCalled();
    response.writableLength += 1;
    answer.token(0, []);
    expect(inner.token).toHaveBeenCalledTimes(2);
    expect(attempt.status).toMatchObject({ state: "aborted", error: { code: "reader_too_slow" } });
    expect(response.destroy).toHaveBeenCalled();
  });

  it("has a minute to read the rest after the attempt's end", () => {
    const { response, attempts, attempt } = setUp();
    attempts.end(attempt, { state: "done", finishReasons: ["stop"] });
    vi.advanceTimersByTime(lastReadMs - 1);
    expect(response.destroy).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(response.destroy).toHaveBeenCalledOnce();
  });
});

it("a client that has read all leaves no timer behind", () => {
  const { response, attempts, attempt } = setUp();
  attempts.end(attempt, { state: "done", finishReasons: ["stop"] });
  response.emit("close");
  expect(vi.getTimerCount()).toBe(0);
});
