/**
 * Where attention's past lives: for each token and layer the normalised latent and the rotated rope key
 * (DeepSeek-V3 report, arXiv 2412.19437, eq. 1 and 3), that is kvLoraRank + qkRopeDim f32 values and nothing else.
 *
 * Memory comes in blocks of a fixed number of tokens, so that sequences of any length share one limit without
 * moving, and so that a prefix cache can later share whole blocks. A sequence reserves all it may need when it
 * opens: once it runs, it cannot run out.
 */
import { strict as assert } from "node:assert";

export interface LatentShape {
  readonly layers: number;
  readonly kvLoraRank: number;
  readonly qkRopeDim: number;
}

export const blockTokens = 16;

export class LatentCache {
  readonly layers: number;
  /** Values a token a layer. */
  readonly width: number;
  readonly bytesPerToken: number;
  readonly maxBlocks: number;
  /** Blocks that no sequence uses now; kept, since the next one will. */
  readonly #free: Float32Array[] = [];
  #allocatedBlocks = 0;
  #reservedBlocks = 0;

  constructor(shape: LatentShape, maxBytes: number) {
    this.layers = shape.layers;
    this.width = shape.kvLoraRank + shape.qkRopeDim;
    this.bytesPerToken = this.layers * this.width * Float32Array.BYTES_PER_ELEMENT;
    this.maxBlocks = Math.floor(maxBytes / (this.bytesPerToken * blockTokens));
  }

  /** The longest sequence that could ever be opened. */
  get maxTokens(): number {
    return this.maxBlocks * blockTokens;
  }

  /** Bytes that the blocks allocated so far take. Never more than the limit. */
  get allocatedBytes(): number {
    return this.#allocatedBlocks * blockTokens * this.bytesPerToken;
  }

  /** Bytes promised to open sequences. */
  get reservedBytes(): number {
    return this.#reservedBlocks * blockTokens * this.bytesPerToken;
  }

  /** Room for one sequence of at most `maxTokens`, or nothing where the limit does not allow it now. */
  open(maxTokens: number): SequenceCache | undefined {
    const blocks = Math.ceil(maxTokens / blockTokens);
    if (this.#reservedBlocks + blocks > this.maxBlocks) return undefined;
    this.#reservedBlocks += blocks;
    return new SequenceCache(this, blocks);
  }

  /** For SequenceCache: a block within its reservation. Its content is whatever the last user left. */
  takeBlock(): Float32Array {
    const block = this.#free.pop();
    if (block) return block;
    this.#allocatedBlocks++;
    assert(this.#allocatedBlocks <= this.maxBlocks, "more cache blocks than were reserved");
    return new Float32Array(this.layers * blockTokens * this.width);
  }

  /** For SequenceCache: the end of a reservation, with the blocks that were taken from it. */
  giveBack(blocks: Float32Array[], reservation: number): void {
    this.#reservedBlocks -= reservation;
    assert(this.#reservedBlocks >= 0, "a cache reservation was given back twice");
    for (const block of blocks) this.#free.push(block);
  }
}

export class SequenceCache {
  /** Tokens whose values are in the cache for every layer. */
  length = 0;
  /** blocks[i] holds tokens i * blockTokens and on: [layers, blockTokens, width]. */
  readonly blocks: Float32Array[] = [];
  readonly width: number;
  readonly #cache: LatentCache;
  readonly #reservation: number;
  #open = true;

  constructor(cache: LatentCache, reservation: number) {
    this.#cache = cache;
    this.#reservation = reservation;
    this.width = cache.width;
  }

  /** Makes room for `tokens` more, before a step that writes them. */
  grow(tokens: number): void {
    assert(this.#open, "the sequence's cache is closed");
    const needed = Math.ceil((this.length + tokens) / blockTokens);
    assert(needed <= this.#reservation, "a sequence outgrew its reservation");
    while (this.blocks.length < needed) this.blocks.push(this.#cache.takeBlock());
  }

  /** Where the values of `layer` begin in each block. */
  layerOffset(layer: number): number {
    return layer * blockTokens * this.width;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#cache.giveBack(this.blocks, this.#reservation);
    this.blocks.length = 0;
  }
}
