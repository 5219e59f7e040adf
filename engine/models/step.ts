/** One step of a model: tokens of any number of sequences, computed together. */
import type { LatentCache, SequenceCache } from "../cache/latent.ts";
import type { Batch, Slice } from "../layers/ops.ts";

/** What one sequence brings: the tokens that follow those in its cache. */
export interface Part {
  readonly tokens: readonly number[];
  readonly cache: SequenceCache;
  /** Whose logits are wanted: of the last token, of all, or (a chunk of a prompt that is not its last) of none. */
  readonly wanted: "last" | "all" | "none";
}

/** What a step cost. */
export interface StepReport {
  readonly tokens: number;
  /** Stored bytes of weights that the step had to read, each matrix once: experts that no token chose are not in it. */
  readonly weightBytes: number;
}

/** The parts one after another, as the operations see them. Their caches have room. */
export function batchOf(parts: readonly Part[], { memory }: LatentCache): Batch {
  let tokens = 0;
  const slices = parts.map((part): Slice => {
    const firstRow = tokens;
    tokens += part.tokens.length;
    return { firstRow, rows: part.tokens.length, position: part.cache.length, blocks: part.cache.blocks };
  });
  return { tokens, slices, cache: memory };
}

/** The rows whose logits the parts want, in their order. */
export function wantedRows(parts: readonly Part[]): number[] {
  const rows: number[] = [];
  let end = 0;
  for (const { tokens, wanted } of parts) {
    end += tokens.length;
    if (wanted === "none") continue;
    for (let row = wanted === "all" ? end - tokens.length : end - 1; row < end; row++) rows.push(row);
  }
  return rows;
}
