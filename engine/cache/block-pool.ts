/**
 * The places of the latent cache: blocks of one size, held by any number of sequences at once. A block that nobody
 * holds is empty, or keeps what it was computed for under a key until its memory is wanted: the one unused for the
 * longest goes first.
 */
import { strict as assert } from "node:assert";

/** Tokens of a block: few, so that little of a shared beginning is computed again; enough to keep keys rare. */
export const blockTokens = 16;

export interface Block {
  /** Which of the pool's places is its own. */
  readonly index: number;
  /** For the pool: sequences that hold it. */
  holders: number;
  /** For the pool: what it was computed for; set once it is full, and its values do not change from then on. */
  key: string | undefined;
}

export class BlockPool {
  readonly maxBlocks: number;
  readonly #empty: Block[] = [];
  readonly #byKey = new Map<string, Block>();
  /** Not held, with a key; in the order in which they were last let go. */
  readonly #idle = new Set<Block>();
  #allocated = 0;
  #held = 0;

  constructor(maxBlocks: number) {
    this.maxBlocks = maxBlocks;
  }

  /** Blocks that were ever used: memory behind the others has not been touched. */
  get allocated(): number {
    return this.#allocated;
  }

  /** Blocks that some sequence holds, each counted once. */
  get held(): number {
    return this.#held;
  }

  /** Blocks that nobody holds and that may be found again. */
  get idle(): number {
    return this.#idle.size;
  }

  find(key: string): Block | undefined {
    return this.#byKey.get(key);
  }

  /** One more holder for a block that find() gave. */
  hold(block: Block): void {
    if (block.holders === 0) {
      assert(this.#idle.delete(block), "a block without holders that was found is idle");
      this.#held++;
    }
    block.holders++;
  }

  /** An unshared block; its values are whatever its last user left. The caller knows that one can be had. */
  take(): Block {
    const block = this.#empty.pop() ?? this.#allocate() ?? this.#evict();
    assert(block && block.holders === 0 && block.key === undefined, "more cache blocks than were promised");
    block.holders = 1;
    this.#held++;
    return block;
  }

  /** Lets a held block be found. Where another has the key already, that one stays. */
  name(block: Block, key: string): void {
    assert(block.holders > 0 && block.key === undefined, "a block is named once, by who computed it");
    if (this.#byKey.has(key)) return;
    block.key = key;
    this.#byKey.set(key, block);
  }

  release(block: Block): void {
    assert(block.holders > 0, "a block was released twice");
    block.holders--;
    if (block.holders > 0) return;
    this.#held--;
    if (block.key === undefined) this.#empty.push(block);
    else this.#idle.add(block);
  }

  #allocate(): Block | undefined {
    if (this.#allocated === this.maxBlocks) return undefined;
    return { index: this.#allocated++, holders: 0, key: undefined };
  }

  #evict(): Block | undefined {
    const [oldest] = this.#idle;
    if (!oldest) return undefined;
    this.#idle.delete(oldest);
    this.#byKey.delete(oldest.key!);
    oldest.key = undefined;
    return oldest;
  }
}
