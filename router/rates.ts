/**
 * What a backend can do, until somebody measured it. Only the order of the chips is meant: these are round figures
 * of a server with eight accelerators and of an ordinary processor, and a measured rate replaces them at once.
 */
import type { BackendView, Chip } from "./types.ts";

export interface Rates {
  /** Prompt tokens a second. */
  readonly prefill: number;
  /** Tokens a second of one stream that runs alone. */
  readonly decode: number;
}

const ASSUMED: Readonly<Record<Chip, Rates>> = {
  gpu: { prefill: 10_000, decode: 50 },
  npu: { prefill: 6_000, decode: 35 },
  cpu: { prefill: 200, decode: 20 },
};

export function prefillRate(backend: BackendView): number {
  return positive(backend.prefillTokensPerSecond) ?? assumed(backend).prefill;
}

export function decodeRate(backend: BackendView): number {
  return positive(backend.decodeTokensPerSecond) ?? assumed(backend).decode;
}

function assumed(backend: BackendView): Rates {
  return ASSUMED[backend.plays ?? backend.chip ?? "gpu"];
}

/** A gauge that reads 0 or nonsense was not measured. */
function positive(rate: number | undefined): number | undefined {
  return rate !== undefined && rate > 0 && rate < Number.POSITIVE_INFINITY ? rate : undefined;
}
