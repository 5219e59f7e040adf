/** A prompt's blocks as chained hashes: each covers all text before it, so that equal hashes mean equal prefixes. */
import { hash53 } from "./hash.ts";
import { MAX_BLOCKS } from "./prefix.ts";

/**
 * Hashes of the whole blocks of a rendered prompt; an unfinished last block has none. An engine caches rendered
 * tokens, and some templates rewrite the history: give what is closest to them. A mistaken match costs time and
 * nothing else, so a fast hash will do.
 */
export function chainedBlocks(prompt: string, charactersABlock: number): string[] {
  const blocks: string[] = [];
  let chain = 0;
  for (let end = charactersABlock; end <= prompt.length; end += charactersABlock) {
    if (blocks.length === MAX_BLOCKS) break;
    chain = hash53(prompt.slice(end - charactersABlock, end), chain);
    blocks.push(chain.toString(36));
  }
  return blocks;
}
