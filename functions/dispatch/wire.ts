/** The client's end of a stream. Every way of writing says whether the client is still there. */
export class Wire {
  readonly readable: ReadableStream<Uint8Array>;
  readonly #writable: WritableStream<Uint8Array>;
  readonly #encoder = new TextEncoder();

  constructor() {
    const { readable, writable } = new IdentityTransformStream();
    this.readable = readable;
    this.#writable = writable;
  }

  /** False: the client has left. Resolves when the client's side has taken it. */
  async write(text: string): Promise<boolean> {
    const writer = this.#writable.getWriter();
    try {
      await writer.write(this.#encoder.encode(text));
      return true;
    } catch {
      return false;
    } finally {
      writer.releaseLock();
    }
  }

  /** Copies a body natively, without ending the client's stream. False: one of the two sides broke. */
  async pipe(body: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<boolean> {
    try {
      await body.pipeTo(this.#writable, { preventClose: true, preventAbort: true, signal });
      return true;
    } catch {
      return false;
    }
  }

  async close(): Promise<void> {
    await this.#writable.close().catch(() => {}); // The client left: there is nothing to close.
  }
}
