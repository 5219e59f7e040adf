/**
 * The client's end of a stream. Every way of writing says whether the client is still there. A client that stops
 * reading is no reason to wait for ever: what stops the request ends a write that waits, and last words are short.
 */
import { SECOND_MS, within } from "../clock.ts";

/** How long last words wait for a client that does not read. */
const LAST_WORDS_MS = 2 * SECOND_MS;

/** What may wait for a client that reads slowly, in characters; beyond it, so does the backend. */
const MAX_WAITING = 64 * 1024;

export class Wire {
  readonly readable: ReadableStream<Uint8Array>;
  readonly #writable: WritableStream<Uint8Array>;
  readonly #stop: AbortSignal;
  readonly #encoder = new TextEncoder();
  #writer: WritableStreamDefaultWriter<Uint8Array> | undefined;
  /** Ends the write that is under way. */
  #giveUp: (() => void) | undefined;
  /** A write never ended: nothing can be written after it. */
  #isStuck = false;
  #waiting = "";
  #sending: Promise<void> | undefined;
  #isPresent = true;

  constructor(stop: AbortSignal) {
    const { readable, writable } = new IdentityTransformStream();
    this.readable = readable;
    this.#writable = writable;
    this.#stop = stop;
    stop.addEventListener("abort", () => this.#giveUp?.());
  }

  /** False: the client has left, or takes nothing. Resolves when the client's side has taken it. */
  async write(text: string): Promise<boolean> {
    if (this.#isStuck) return false;
    this.#writer ??= this.#writable.getWriter();
    const written = this.#writer.write(this.#encoder.encode(text)).then(
      () => "taken" as const,
      () => "refused" as const,
    );
    const outcome = this.#stop.aborted ? await within(LAST_WORDS_MS, written) : await this.#orStop(written);
    if (outcome === undefined) this.#isStuck = true;
    return outcome === "taken";
  }

  /**
   * As write, but waits only where much is waiting already: what comes while the client takes a piece goes out with
   * the next one. False: the client had left by now.
   */
  async put(text: string): Promise<boolean> {
    this.#waiting += text;
    this.#sending ??= this.#send();
    if (this.#waiting.length > MAX_WAITING) await this.#sending;
    return this.#isPresent;
  }

  /** Resolves when the client's side has taken all that was put. False: it did not. */
  async taken(): Promise<boolean> {
    await this.#sending;
    return this.#isPresent;
  }

  async #send(): Promise<void> {
    while (this.#waiting !== "" && this.#isPresent) {
      const piece = this.#waiting;
      this.#waiting = "";
      this.#isPresent = await this.write(piece);
    }
    this.#sending = undefined;
  }

  /** Undefined: the request was stopped first. */
  #orStop<T>(written: Promise<T>): Promise<T | undefined> {
    return new Promise((resolve) => {
      this.#giveUp = () => resolve(undefined);
      written.then(resolve);
    });
  }

  /** Copies a body natively, without ending the client's stream. False: one of the two sides broke. */
  async pipe(body: ReadableStream<Uint8Array>): Promise<boolean> {
    this.#writer?.releaseLock();
    this.#writer = undefined;
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
    const end = this.#writer ?? this.#writable;
    const closed = end.close().then(
      () => true,
      () => true, // The client left: there is nothing to close.
    );
    if (!(await within(LAST_WORDS_MS, closed))) await end.abort("the client does not read").catch(() => {});
  }
}
