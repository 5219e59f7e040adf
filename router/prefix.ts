/**
 * Which backend has which blocks of prompts in its cache: a bounded index that the one who places fills. It is
 * changed in place (a copy of a hundred thousand blocks a request is no option) and depends on its arguments alone.
 *
 * A block's hash covers all blocks before it (blocks.ts), so a backend that holds a block holds the whole prefix.
 * Two rules keep that true here: a block is entered with all before it, and the least recently used go first, where
 * the deeper block of a prompt always counts as the older. Matching leans on it: holders only become fewer with
 * depth, so it looks at the depths where they do and at no other.
 */

/** Pairs of block and backend. 100,000 take about 25 MB, of the 128 MB that a Durable Object has. */
export const MAX_PAIRS = 100_000;
/** Blocks of one prompt that are entered; with the usual block, 262,144 tokens. */
export const MAX_BLOCKS = 2_048;

interface Entry {
  readonly salt: string;
  readonly hash: string;
  /** Ordinals of backends. */
  holders: number[];
  newer: Entry | undefined;
  older: Entry | undefined;
}

export interface PrefixIndex {
  readonly maxPairs: number;
  pairs: number;
  /** Salt, then hash: no account's prompt can match another's. */
  readonly salts: Map<string, Map<string, Entry>>;
  readonly ordinals: Map<string, number>;
  readonly backends: string[];
  /** Ordinals of backends that were forgotten, to be given again. */
  readonly free: number[];
  newest: Entry | undefined;
  oldest: Entry | undefined;
}

export function createPrefixIndex(maxPairs = MAX_PAIRS): PrefixIndex {
  return {
    maxPairs,
    pairs: 0,
    salts: new Map(),
    ordinals: new Map(),
    backends: [],
    free: [],
    newest: undefined,
    oldest: undefined,
  };
}

/** The backend has, or is about to have, these blocks. Evicts the least recently used beyond the bound. */
export function insertPrefix(
  index: PrefixIndex,
  salt: string,
  blocks: readonly string[],
  backend: string,
): void {
  if (blocks.length === 0) return;
  const ordinal = ordinalOf(index, backend);
  let entries = index.salts.get(salt);
  if (!entries) index.salts.set(salt, (entries = new Map()));
  // From the deepest up: the first block becomes the most recently used.
  for (let depth = Math.min(blocks.length, MAX_BLOCKS) - 1; depth >= 0; depth--) {
    const hash = blocks[depth]!;
    let entry = entries.get(hash);
    if (entry) unlink(index, entry);
    else entries.set(hash, (entry = { salt, hash, holders: [], newer: undefined, older: undefined }));
    link(index, entry);
    if (!entry.holders.includes(ordinal)) {
      entry.holders.push(ordinal);
      index.pairs++;
    }
  }
  evict(index);
}

/** Tells of each backend that has some of the prompt's blocks, how many it has: those with most come first. */
export function matchPrefix(
  index: PrefixIndex,
  salt: string,
  blocks: readonly string[],
  tell: (backend: string, blocks: number) => void,
): void {
  const entries = index.salts.get(salt);
  if (!entries || !blocks.length || !entries.has(blocks[0]!)) return;
  const seen = new Uint8Array(index.backends.length);
  let count = 0;
  let depth = Math.min(blocks.length, MAX_BLOCKS);
  for (;;) {
    // The deepest block that somebody has who was not told of yet.
    depth = deepest(depth, (at) => (entries.get(blocks[at]!)?.holders.length ?? 0) > count);
    if (depth === 0) return;
    for (const ordinal of entries.get(blocks[depth - 1]!)!.holders) {
      if (seen[ordinal] !== 0) continue;
      seen[ordinal] = 1;
      count++;
      tell(index.backends[ordinal]!, depth);
    }
    depth--;
  }
}

/** The backend was removed, or began again with an empty cache. */
export function forgetBackend(index: PrefixIndex, backend: string): void {
  const ordinal = index.ordinals.get(backend);
  if (ordinal === undefined) return;
  for (let entry = index.newest; entry; entry = entry.older) {
    const at = entry.holders.indexOf(ordinal);
    if (at < 0) continue;
    entry.holders.splice(at, 1);
    index.pairs--;
    if (entry.holders.length === 0) remove(index, entry);
  }
  index.ordinals.delete(backend);
  index.free.push(ordinal);
}

function evict(index: PrefixIndex): void {
  while (index.pairs > index.maxPairs && index.oldest) {
    index.pairs -= index.oldest.holders.length;
    remove(index, index.oldest);
  }
}

/** The largest n up to `limit` for which block n - 1 holds; 0: none does. What holds, holds for all before it. */
function deepest(limit: number, holds: (depth: number) => boolean): number {
  let low = 0;
  let high = limit;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (holds(middle - 1)) low = middle;
    else high = middle - 1;
  }
  return low;
}

function ordinalOf(index: PrefixIndex, backend: string): number {
  let ordinal = index.ordinals.get(backend);
  if (ordinal !== undefined) return ordinal;
  ordinal = index.free.pop() ?? index.backends.length;
  index.ordinals.set(backend, ordinal);
  index.backends[ordinal] = backend;
  return ordinal;
}

function remove(index: PrefixIndex, entry: Entry): void {
  unlink(index, entry);
  const entries = index.salts.get(entry.salt)!;
  entries.delete(entry.hash);
  if (entries.size === 0) index.salts.delete(entry.salt);
}

function link(index: PrefixIndex, entry: Entry): void {
  entry.older = index.newest;
  entry.newer = undefined;
  if (index.newest) index.newest.newer = entry;
  index.newest = entry;
  index.oldest ??= entry;
}

function unlink(index: PrefixIndex, entry: Entry): void {
  if (entry.newer) entry.newer.older = entry.older;
  else index.newest = entry.older;
  if (entry.older) entry.older.newer = entry.newer;
  else index.oldest = entry.newer;
}
