/** What this folder uses of WebAssembly's JavaScript interface: the types of Node and of the language have none. */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array<ArrayBuffer>);
  }

  class Memory {
    readonly buffer: ArrayBufferLike;
    constructor(descriptor: { initial: number; maximum: number; shared: true });
    grow(pages: number): number;
  }

  class Instance {
    readonly exports: Record<string, unknown>;
    constructor(module: Module, imports?: { env: { memory: Memory } });
  }
}
