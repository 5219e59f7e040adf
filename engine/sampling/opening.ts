/**
 * The beginnings that an answer must have one of, as a tree of tokens: how a tool call is made required. Where there
 * is one way to go on, it is taken; where there are several, the model's probabilities decide among them.
 */

interface Node {
  readonly next: Map<number, Node>;
}

export class Opening {
  #at: Node = { next: new Map() };

  /** beginnings: token ids; none of them is empty or the beginning of another. */
  constructor(beginnings: Iterable<readonly number[]>) {
    for (const beginning of beginnings) {
      let node = this.#at;
      for (const token of beginning) {
        const next: Node = node.next.get(token) ?? { next: new Map() };
        node.next.set(token, next);
        node = next;
      }
    }
  }

  /** The tokens that may come next; nothing once a beginning is complete and anything may. */
  get allowed(): readonly number[] | undefined {
    return this.#at.next.size > 0 ? [...this.#at.next.keys()] : undefined;
  }

  advance(token: number): void {
    this.#at = this.#at.next.get(token) ?? { next: new Map() };
  }
}
