/**
 * Where attention's past lives: for each token and layer the normalised latent and the rotated rope key
 * (DeepSeek-V3 report, arXiv 2412.19437, eq. 1 and 3), that is kvLoraRank + qkRopeDim f32 values and nothing else.
 *
 * It is one tensor of the operations, taken once at its limit: memory that no block has used yet is not touched. It is
 * divided into blocks of a fixed number of tokens (block-pool.ts), so that sequences of any length share the limit
 * without moving, and whole blocks of equal beginnings are computed and stored once (prefix.ts). A sequence is
 * promised all it may need when it opens: once it runs, it cannot run out.
 */
import { strict as assert } from "node:assert";
import type { LatentBlocks, Ops } from "../layers/ops.ts";
import { type Block, BlockPool, blockTokens } from "./block-pool.ts";
import { nextKey, type Prefix, rootKey } from "./prefix.ts";

export interface LatentShape {
  readonly layers: number;
  readonly kvLoraRank: number;
  readonly qkRopeDim: number;
}

export class LatentCache {
  readonly layers: number;
  /** Values a token a layer. */
  readonly width: number;
  readonly bytesPerToken: number;
  /** For the operations that write and read it. */
  readonly memory: LatentBlocks;
  readonly #pool: BlockPool;
  /** Blocks that open sequences may still take. */
  #promised = 0;

  /** Errors: RangeError where the operations' memory does not have that much. */
  constructor(shape: LatentShape, maxBytes: number, ops: Ops) {
    this.layers = shape.layers;
    this.width = shape.kvLoraRank + shape.qkRopeDim;
    this.bytesPerToken = this.layers * this.width * Float32Array.BYTES_PER_ELEMENT;
    const maxBlocks = Math.floor(maxBytes / (this.bytesPerToken * blockTokens));
    this.#pool = new BlockPool(maxBlocks);
    const values = ops.tensor(maxBlocks * blockTokens * this.layers * this.width);
    this.memory = { values, layers: this.layers, blockTokens, width: this.width };
  }

  /** The longest sequence that could ever be opened. */
  get maxTokens(): number {
    return this.#pool.maxBlocks * blockTokens;
  }

  /** Bytes that the blocks used so far take. Never more than the limit. */
  get allocatedBytes(): number {
    return this.#bytes(this.#pool.allocated);
  }

  /** Bytes that open sequences hold or are promised; what they share is counted once. */
  get reservedBytes(): number {
    return this.#bytes(this.#pool.held + this.#promised);
  }

  /** Bytes that no sequence holds, kept for one that begins alike. Given up when the memory is wanted. */
  get reusableBytes(): number {
    return this.#bytes(this.#pool.idle);
  }

  /** The part of the limit that open sequences hold or are promised, 0 to 1. */
  get use(): number {
    return (this.#pool.held + this.#promised) / this.#pool.maxBlocks;
  }

  /**
   * Room for one sequence of at most `maxTokens`, or nothing where the limit does not allow it now. With a prefix it
   * begins with the blocks of it that are there, and what it computes can be found by others of the same salt.
   */
  open(maxTokens: number, prefix?: Prefix): SequenceCache | undefined {
    const found = prefix ? this.#find(prefix) : [];
    const more = Math.ceil(maxTokens / blockTokens) - found.length;
    assert(more >= 0, "a sequence is at least as long as its prefix");
    const nobodyHolds = found.filter((block) => block.holders === 0).length;
    if (this.#pool.held + nobodyHolds + this.#promised + more > this.#pool.maxBlocks) return undefined;
    for (const block of found) this.#pool.hold(block);
    this.#promised += more;
    return new SequenceCache(this, found, more, prefix);
  }

  /** The longest run of the prefix's blocks from its beginning. */
  #find(prefix: Prefix): Block[] {
    const found: Block[] = [];
    for (const key of prefix.keys) {
      const block = this.#pool.find(key);
      if (!block) break;
      found.push(block);
    }
    return found;
  }

  /** For SequenceCache: one of the blocks it was promised. */
  takePromised(): Block {
    assert(this.#promised > 0);
    this.#promised--;
    return this.#pool.take();
  }

  /** For SequenceCache: a block of its own is full. */
  name(block: Block, key: string): void {
    this.#pool.name(block, key);
  }

  /** For SequenceCache: its end, with the blocks it holds and what it was promised and did not take. */
  giveBack(blocks: readonly Block[], promised: number): void {
    this.#promised -= promised;
    assert(this.#promised >= 0, "a promise was given back twice");
    // The last block first: of a conversation's blocks the later ones are of no use without the earlier.
    for (const block of blocks.toReversed()) this.#pool.release(block);
  }

  #bytes(blocks: number): number {
    return blocks * blockTokens * this.bytesPerToken;
  }
}

export class SequenceCache {
  /** blocks[i] holds tokens i * blockTokens and on; those not yet taken are -1. */
  readonly blocks: Int32Array;
  /** Tokens that were there when it opened. */
  readonly foundTokens: number;
  readonly #cache: LatentCache;
  readonly #held: Block[];
  #promised: number;
  #length: number;
  /** The key of the last full block; undefined where nothing of this sequence is shared. */
  #key: string | undefined;
  /** Tokens of the block that is not full. */
  readonly #partial: number[] = [];
  #open = true;

  constructor(cache: LatentCache, found: Block[], promised: number, prefix: Prefix | undefined) {
    this.#cache = cache;
    this.#held = found;
    this.#promised = promised;
    this.#key = prefix && (prefix.keys[found.length - 1] ?? rootKey(prefix.salt));
    this.blocks = new Int32Array(found.length + promised).fill(-1);
    for (const [i, block] of found.entries()) this.blocks[i] = block.index;
    this.foundTokens = found.length * blockTokens;
    this.#length = this.foundTokens;
  }

  /** Tokens whose values are in the cache for every layer. */
  get length(): number {
    return this.#length;
  }

  /** Makes room for `tokens` more, before a step that writes them. */
  grow(tokens: number): void {
    assert(this.#open, "the sequence's cache is closed");
    const needed = Math.ceil((this.#length + tokens) / blockTokens);
    assert(needed <= this.#held.length + this.#promised, "a sequence outgrew what it was promised");
    while (this.#held.length < needed) {
      const block = this.#cache.takePromised();
      this.#promised--;
      this.blocks[this.#held.length] = block.index;
      this.#held.push(block);
    }
  }

  /** The values of these tokens have been written for every layer. */
  append(tokens: readonly number[]): void {
    for (const token of tokens) {
      this.#length++;
      if (this.#key === undefined) continue;
      this.#partial.push(token);
      if (this.#partial.length < blockTokens) continue;
      this.#key = nextKey(this.#key, this.#partial);
      this.#partial.length = 0;
      this.#cache.name(this.#held[this.#length / blockTokens - 1], this.#key);
    }
    assert(this.#length <= this.#held.length * blockTokens, "values were written beyond the blocks");
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#cache.giveBack(this.#held, this.#promised);
    this.#held.length = 0;
    this.blocks.fill(-1);
  }
}
