/**
 * Tensors for what layers compute on the way, by name and reused from step to step and layer to layer: each has room
 * for the most tokens a step may have, so it is taken once. A name is valid from its `take` until the next layer
 * takes it.
 */
import type { Ops } from "./ops.ts";

export class Scratch {
  readonly #ops: Ops;
  readonly #maxTokens: number;
  readonly #tensors = new Map<string, Float32Array>();

  constructor(ops: Ops, maxTokens: number) {
    this.#ops = ops;
    this.#maxTokens = maxTokens;
  }

  /** [tokens, width], with whatever the last user left in it. */
  take(name: string, width: number): Float32Array {
    let tensor = this.#tensors.get(name);
    if (!tensor) {
      tensor = this.#ops.tensor(this.#maxTokens * width);
      this.#tensors.set(name, tensor);
    }
    return tensor;
  }
}
