/**
 * The client as a reader. What it has not read waits in our memory, so there is a limit to how much, and to how long
 * the last of it waits once nothing more will come.
 */
import type { ServerResponse } from "node:http";
import type { Answer } from "./answer.ts";
import type { Attempt } from "./attempts.ts";

export const maxUnreadBytes = 8 * 1024 * 1024;
/** For what is left to read after the attempt's end. */
export const lastReadMs = 60_000;

/** The answer, which aborts its attempt when too much of it lies unread. */
export function whileRead(answer: Answer, response: ServerResponse, attempt: Attempt): Answer {
  attempt.whenEnded.add(() => {
    const timer = setTimeout(() => response.destroy(), lastReadMs);
    response.once("close", () => clearTimeout(timer));
  });
  return {
    token(choice, deltas) {
      answer.token(choice, deltas);
      if (response.writableLength <= maxUnreadBytes) return;
      attempt.abort({ code: "reader_too_slow", message: `The client left ${maxUnreadBytes} bytes unread.` });
      response.destroy();
    },
    finish: (choice, deltas, reason) => answer.finish(choice, deltas, reason),
    end: (usage) => answer.end(usage),
    fail: (error) => answer.fail(error),
  };
}
