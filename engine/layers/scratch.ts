/**
 * Buffers for what a layer computes on the way, by name and reused from step to step: a decode step would
 * otherwise allocate dozens of arrays. Only one step runs at a time, and every layer of a model shares them,
 * so a name is valid from its `take` until the next layer takes it.
 */
export class Scratch {
  readonly #buffers = new Map<string, Float32Array>();

  /** At least `length` floats, with whatever the last user left in them. */
  take(name: string, length: number): Float32Array {
    let buffer = this.#buffers.get(name);
    if (!buffer || buffer.length < length) {
      buffer = new Float32Array(length);
      this.#buffers.set(name, buffer);
    }
    return buffer;
  }
}
