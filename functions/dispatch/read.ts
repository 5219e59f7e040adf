/**
 * The reading path: a backend's bytes become events. Any cutting of the bytes gives the same events; a line has an
 * end, an answer has a size, and a backend that sends heartbeats and no tokens is not alive.
 */
import { createParser } from "eventsource-parser";
import { END_OF_STREAM, eventsOf } from "./dialects/openai.ts";
import type { EngineEvent } from "./run.ts";

/** One line, in characters; a longer one is refused. */
const MAX_LINE = 4 * 1024 * 1024;

export interface ReadLimits {
  /** The longest time between two tokens (or the end), ms. */
  readonly idleMs: number;
  /** The longest wait for the first token, ms. */
  readonly firstMs: number;
  /** The most bytes of a whole answer. */
  readonly maxBytes: number;
}

/** Yields events until the stream's end. What goes wrong is an error event, the last one: it never throws. */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  limits: ReadLimits,
): AsyncGenerator<EngineEvent> {
  const queue: EngineEvent[] = [];
  let ended = false;
  const parser = createParser({
    maxBufferSize: MAX_LINE,
    onEvent: (message) => {
      if (message.data === END_OF_STREAM) ended = true;
      // An `event:` name other than the default belongs to something that this dialect does not know.
      else if (!ended && (message.event === undefined || message.event === "error"))
        queue.push(...eventsOf(message.data));
    },
  });
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let bytes = 0;
  let deadline = Date.now() + limits.firstMs;
  try {
    while (!ended) {
      const read = await before(deadline, reader.read());
      if (read === undefined)
        return yield { ...failed("the backend sent no token for too long"), late: true };
      if (read.done) break;
      bytes += read.value.byteLength;
      if (bytes > limits.maxBytes) return yield failed("the backend sent more than any answer can hold");
      parser.feed(decoder.decode(read.value, { stream: true }));
      for (const event of queue.splice(0)) {
        if (event.type === "delta") deadline = Date.now() + limits.idleMs;
        yield event;
        if (event.type === "error") return;
      }
    }
  } catch {
    yield failed("the backend's stream was cut");
  } finally {
    // Not awaited: a backend that hangs would hang this too.
    reader.cancel().catch(() => {});
  }
}

function failed(message: string) {
  return { type: "error", message } as const;
}

/** The value, or undefined when the deadline passes first. */
async function before<T>(deadline: number, value: Promise<T>): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | null = null;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, deadline - Date.now()), undefined);
  });
  try {
    return await Promise.race([value, late]);
  } finally {
    clearTimeout(timer);
  }
}
