/**
 * One shared memory for weights, activations and the cache, handed out from its beginning to its end and never taken
 * back: a model takes what it needs once. What is handed out and not touched costs nothing.
 */
import { threadMemoryAt, threadMemoryBytes } from "./constants.ts";
import { Memory, type WasmMemory } from "./webassembly.ts";

const pageBytes = 65_536;
const cacheLine = 64;
/** A 32-bit address space, less a page, so that no end of a tensor is 2^32. */
const addressSpace = 2 ** 32 - pageBytes;

export class KernelMemory {
  readonly memory: WasmMemory;
  readonly #limit: number;
  #next: number;
  /** Growing makes new objects of the same bytes, not always at once; tensors keep the one of their time. */
  readonly #buffers = new WeakSet<ArrayBufferLike>();
  #lastBuffer: ArrayBufferLike | undefined;

  constructor(threads: number, maxBytes = addressSpace) {
    this.#next = threadMemoryAt + threads * threadMemoryBytes;
    this.#limit = Math.min(addressSpace, this.#next + maxBytes);
    this.memory = new Memory({
      initial: Math.ceil(this.#next / pageBytes),
      maximum: 65_536,
      shared: true,
    });
  }

  get allocatedBytes(): number {
    return this.#next;
  }

  /** The address of `bytes` zeros, on a cache line of their own. Errors: RangeError where memory ends. */
  allocate(bytes: number): number {
    const address = this.#next;
    const end = address + Math.ceil(bytes / cacheLine) * cacheLine;
    if (!(end <= this.#limit)) {
      throw new RangeError(
        `out of memory: ${bytes} bytes asked for, ${this.#limit - address} of ${this.#limit} left`,
      );
    }
    const pages = Math.ceil(end / pageBytes) - this.memory.buffer.byteLength / pageBytes;
    if (pages > 0) {
      this.memory.grow(pages);
    }
    this.#next = end;
    return address;
  }

  floats(address: number, length: number): Float32Array {
    const { buffer } = this.memory;
    this.#buffers.add(buffer);
    this.#lastBuffer = buffer;
    return new Float32Array(buffer, address, length);
  }

  /** Whether floats() gave out something of this buffer. */
  holds(buffer: ArrayBufferLike): boolean {
    return buffer === this.#lastBuffer || this.#buffers.has(buffer);
  }
}
