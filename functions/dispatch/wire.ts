/**
 * The client's end of a stream. Every way of writing says whether the client is still there. A client that stops
 * reading is no reason to wait for ever: what stops the request ends a write that waits, and last words are short.
 */
import { SECOND_MS, within } from "../clock.ts";

/** How long last words wait for a client that does not read. */
const LAST_WORDS_MS = 2 * SECOND_MS;

export class Wire {
  readonly readable: ReadableStream<Uint8Array>;
  readonly #writable: WritableStream<Uint8Array>;
  readonly #stop: AbortSignal;
  readonly #stopped: Promise<false>;
  readonly #encoder = new TextEncoder();
  /** A write never ended: nothing can be written after it. */
  #isStuck = false;

  constructor(stop: AbortSignal) {
    const { readable, writable } = new IdentityTransformStream();
    this.readable = readable;
    this.#writable = writable;
    this.#stop = stop;
    this.#stopped = new Promise((resolve) => stop.addEventListener("abort", () => resolve(false)));
  }

  /** False: the client has left, or takes nothing. Resolves when the client's side has taken it. */
  async write(text: string): Promise<boolean> {
    if (this.#isStuck) return false;
    const writer = this.#writable.getWriter();
    const written = writer.write(this.#encoder.encode(text)).then(
      () => "taken" as const,
      () => "refused" as const,
    );
    const outcome = this.#stop.aborted
      ? await within(LAST_WORDS_MS, written)
      : await Promise.race([written, this.#stopped]);
    if (outcome !== "taken" && outcome !== "refused") this.#isStuck = true;
    else writer.releaseLock();
    return outcome === "taken";
  }

  /** Copies a body natively, without ending the client's stream. False: one of the two sides broke. */
  async pipe(body: ReadableStream<Uint8Array>): Promise<boolean> {
    try {
      await body.pipeTo(this.#writable, { preventClose: true, preventAbort: true, signal: this.#stop });
      return true;
    } catch {
      return false;
    }
  }

  /** Ends the stream; one that the client does not read is cut. */
  async close(): Promise<void> {
    if (this.#isStuck) return; // Its lock is the hanging write's; the connection ends with the request.
    const closed = this.#writable.close().then(
      () => true,
      () => true, // The client left: there is nothing to close.
    );
    if (!(await within(LAST_WORDS_MS, closed)))
      await this.#writable.abort("the client does not read").catch(() => {});
  }
}
