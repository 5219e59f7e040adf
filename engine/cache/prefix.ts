/**
 * What a cached block was computed for: its own tokens and all before them, since attention reads them all, and whose
 * they are. The keys form a chain, so that equal keys mean equal beginnings. They are cryptographic: a key that could
 * be made to collide would answer one customer from another's text (vLLM's CVE-2025-25183).
 */
import { createHash } from "node:crypto";
import { blockTokens } from "./block-pool.ts";

/** The key before the first block. salt: whose sequences may share; the empty one is a group of its own. */
export function rootKey(salt: string): string {
  return createHash("sha256").update(salt).digest("base64");
}

/** tokens: those of one block. */
export function nextKey(previous: string, tokens: readonly number[]): string {
  return createHash("sha256").update(previous, "base64").update(Int32Array.from(tokens)).digest("base64");
}

/** A prompt's beginning that may be found in the cache: its whole blocks, but never its last token. */
export class Prefix {
  readonly salt: string;
  readonly tokens: readonly number[];
  /** Made when first asked for: a sequence may wait for its memory and look many times. */
  #keys: readonly string[] | undefined;

  constructor(salt: string, tokens: readonly number[]) {
    this.salt = salt;
    this.tokens = tokens;
  }

  /** A key a whole block. Without the last token, whose logits somebody has to compute. */
  get keys(): readonly string[] {
    if (this.#keys) return this.#keys;
    const keys: string[] = [];
    let key = rootKey(this.salt);
    for (let end = blockTokens; end < this.tokens.length; end += blockTokens) {
      key = nextKey(key, this.tokens.slice(end - blockTokens, end));
      keys.push(key);
    }
    this.#keys = keys;
    return keys;
  }
}
