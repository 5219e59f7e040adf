import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Attempts, arrivalPatienceMs, maxEndedAttempts, retentionMs } from "./attempts.ts";

const aborted = { code: "aborted", message: "" };
let nowMs: number;
let attempts: Attempts;

beforeEach(() => {
  nowMs = 1_000;
  attempts = new Attempts("boot", () => nowMs);
});

function run(id: string, deadlineAtMs = nowMs) {
  const attempt = attempts.begin(id, deadlineAtMs);
  attempt.abort = (problem) => attempts.end(attempt, { state: "aborted", error: problem });
  return attempt;
}

/** Any new attempt makes the registry forget what it may. */
function forget() {
  attempts.begin(`other.${Math.random()}`, nowMs);
}

describe("an ended attempt", () => {
  it("is remembered for 30 minutes and then forgotten", () => {
    attempts.end(run("a"), { state: "done", finishReasons: ["stop"] });
    nowMs += retentionMs - 1;
    forget();
    expect(attempts.report("a").state).toBe("done");
    nowMs += 1;
    forget();
    expect(attempts.report("a").state).toBe("unknown");
  });

  it("is remembered for as long past its deadline", () => {
    attempts.end(run("a", nowMs + 3_600_000), { state: "done", finishReasons: ["stop"] });
    nowMs += 3_600_000 + retentionMs - 1;
    forget();
    expect(attempts.report("a").state).toBe("done");
  });

  it("is forgotten before younger ones when there are too many", () => {
    for (let i = 0; i < maxEndedAttempts; i++)
      attempts.end(run(`a.${i}`), { state: "done", finishReasons: ["stop"] });
    forget();
    expect(attempts.report("a.0").state).toBe("unknown");
    expect(attempts.report("a.1").state).toBe("done");
  });

  it("cannot end again or change", () => {
    const attempt = run("a");
    attempts.end(attempt, { state: "done", finishReasons: ["length"] });
    expect(() => attempts.end(attempt, { state: "failed", error: aborted })).toThrow("ends once");
    expect(attempts.abort("a", aborted)).toMatchObject({
      state: "done",
      finish_reason: "length",
      error: null,
    });
  });
});

it("is never forgotten while it runs", () => {
  attempts.start(run("a"), 7, 0);
  nowMs += 10 * retentionMs;
  forget();
  expect(attempts.report("a")).toMatchObject({ state: "running", prompt_tokens: 7 });
});

describe("a wait for the end", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("is answered when the attempt ends, with its final counts", () => {
    const attempt = run("a");
    attempts.start(attempt, 3, 0);
    const answer = vi.fn();
    attempts.waitForEnd("a", answer);
    attempt.completionTokens = 5;
    expect(answer).not.toHaveBeenCalled();
    attempts.end(attempt, { state: "done", finishReasons: ["stop"] });
    expect(answer).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ state: "done", completion_tokens: 5 }),
    );
  });

  it("waits five seconds for an attempt that has not come", () => {
    const answer = vi.fn();
    attempts.waitForEnd("a", answer);
    vi.advanceTimersByTime(arrivalPatienceMs - 1);
    expect(answer).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(answer).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ state: "unknown" }));
  });

  it("takes up an attempt that comes in that time, however long it then runs", () => {
    const answer = vi.fn();
    attempts.waitForEnd("a", answer);
    vi.advanceTimersByTime(arrivalPatienceMs - 1);
    const attempt = run("a");
    vi.advanceTimersByTime(10 * arrivalPatienceMs);
    expect(answer).not.toHaveBeenCalled();
    attempts.end(attempt, { state: "done", finishReasons: ["stop"] });
    expect(answer).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ state: "done" }));
  });

  it("can be given up, before the attempt has come and after", () => {
    const answer = vi.fn();
    attempts.waitForEnd("a", answer)();
    const cancel = attempts.waitForEnd("b", answer);
    const attempt = run("b");
    cancel();
    attempts.end(attempt, { state: "done", finishReasons: ["stop"] });
    vi.advanceTimersByTime(2 * arrivalPatienceMs);
    expect(answer).not.toHaveBeenCalled();
    expect(attempt.whenEnded.size).toBe(0);
  });
});
