/**
 * The reading path: a backend's bytes become events. Any cutting of the bytes gives the same events; a line has an
 * end, an answer has a size, and a backend that sends heartbeats and no tokens is not alive.
 */
import { createParser } from "eventsource-parser";
import { Patience, SECOND_MS } from "../clock.ts";
import type { Dialect } from "./dialects/dialect.ts";
import { END_OF_STREAM, Events, errorOf } from "./dialects/events.ts";
import type { EngineEvent } from "./run.ts";

/** One event (a line, or the lines of it), in characters; a longer one is refused. */
const MAX_EVENT = 4 * 1024 * 1024;
/** With finish and count there, only a better count and the end are missing: this long they may take. */
const LAST_WORDS_MS = 2 * SECOND_MS;

export interface ReadLimits {
  /** The longest time between two tokens (or the end), ms. */
  readonly idleMs: number;
  /** The longest wait for the first token, ms. */
  readonly firstMs: number;
  /** The most bytes of a whole answer. */
  readonly maxBytes: number;
}

/**
 * Yields events of so many choices until the stream's end, as many at a time as came together. What goes wrong is an
 * error event, the last one: it never throws.
 */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  limits: ReadLimits,
  dialect: Dialect,
  choices: number,
): AsyncGenerator<readonly EngineEvent[]> {
  let queue: EngineEvent[] = [];
  const events = new Events(dialect, choices);
  let ended = false;
  const parser = createParser({
    maxBufferSize: MAX_EVENT,
    onEvent: ({ event, data }) => {
      if (ended) return;
      if (event === "error") queue.push(errorOf(dialect, data));
      // Another name than the default belongs to something that this dialect does not know.
      else if (event !== undefined && event !== "message") return;
      else if (data === END_OF_STREAM) ended = true;
      else queue.push(...events.of(data));
    },
    onError: ({ type }) => {
      if (type === "max-buffer-size-exceeded") queue.push(failed("the backend sent a line without end"));
    },
  });
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let bytes = 0;
  let deadline = Date.now() + limits.firstMs;
  let counted = false;
  const complete = () => events.areFinished && counted;
  const patience = new Patience();
  try {
    while (!ended) {
      const read = await patience.within(deadline - Date.now(), reader.read());
      if (read === undefined) {
        if (!complete()) yield [{ ...failed("the backend sent no token for too long"), late: true }];
        return;
      }
      if (read.done) break;
      bytes += read.value.byteLength;
      if (bytes > limits.maxBytes) return yield [failed("the backend sent more than any answer can hold")];
      parser.feed(decoder.decode(read.value, { stream: true }));
      if (queue.length > 0) {
        const came = queue;
        queue = [];
        const error = came.findIndex(({ type }) => type === "error");
        if (came.some(({ type }) => type === "delta")) deadline = Date.now() + limits.idleMs;
        counted ||= came.some(({ type }) => type === "usage");
        yield error < 0 ? came : came.slice(0, error + 1);
        if (error >= 0) return;
      }
      if (complete()) deadline = Math.min(deadline, Date.now() + LAST_WORDS_MS);
    }
  } catch {
    // A backend that dies after its last word has said all.
    if (!complete()) yield [failed("the backend's stream was cut")];
  } finally {
    patience.end();
    // Not awaited: a backend that hangs would hang this too.
    reader.cancel().catch(() => {});
  }
}

/**
 * Whether a body is compressed. Backends are asked for `identity`; a small body that unfolds to gigabytes is the
 * only thing that such an answer could surprise with, so it is refused unread.
 */
export function isCompressed(headers: Headers): boolean {
  const encoding = headers.get("content-encoding")?.trim().toLowerCase();
  return encoding !== undefined && encoding !== "" && encoding !== "identity";
}

/** The beginning of a body as text, at most so many bytes of it: what a backend says when it refuses. */
export async function beginningOf(response: Response, maxBytes: number): Promise<string> {
  const reader = response.body?.getReader();
  if (!reader) return "";
  const decoder = new TextDecoder();
  let text = "";
  let left = maxBytes;
  try {
    while (left > 0) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value.subarray(0, left), { stream: true });
      left -= value.byteLength;
    }
  } catch {
    // Cut: what came so far may still say it.
  } finally {
    reader.cancel().catch(() => {});
  }
  return text;
}

function failed(message: string) {
  return { type: "error", message } as const;
}
