/**
 * The edge's own count, for backends that report none or an absurd one: UTF-8 bytes divided by the bytes a token
 * that this backend reported lately. Chunks are not tokens.
 */
import type { Usage } from "../money.ts";
import type { Bound } from "./plausible.ts";

/** English text in common vocabularies, where a backend has reported nothing yet. */
const BYTES_A_TOKEN = 4;
const KEEP = 0.9;

const ratios = new Map<string, { prompt: number; output: number }>();

/** Learns from a trusted count. Bytes are of UTF-8. */
export function learnRatio(backend: string, usage: Usage, promptBytes: number, outputBytes: number): void {
  const before = ratios.get(backend);
  const mix = (old: number | undefined, bytes: number, tokens: number) => {
    if (tokens === 0 || bytes === 0) return old ?? BYTES_A_TOKEN;
    const now = Math.max(1, bytes / tokens);
    return old === undefined ? now : KEEP * old + (1 - KEEP) * now;
  };
  ratios.set(backend, {
    prompt: mix(before?.prompt, promptBytes, usage.input + usage.cachedInput),
    output: mix(before?.output, outputBytes, usage.output),
  });
}

/** `edge` where a ratio was learnt, `estimate` where not; never beyond the request's bound. */
export function countByBytes(backend: string, promptBytes: number, outputBytes: number, bound: Bound): Usage {
  const known = ratios.get(backend);
  const ratio = known ?? { prompt: BYTES_A_TOKEN, output: BYTES_A_TOKEN };
  return {
    input: Math.min(bound.maxInput, Math.ceil(promptBytes / ratio.prompt)),
    cachedInput: 0,
    output: Math.min(bound.maxOutput, Math.ceil(outputBytes / ratio.output)),
    reasoning: 0,
    source: known ? "edge" : "estimate",
  };
}
