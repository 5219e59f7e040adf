/** The feed-forward layer, SwiGLU (Shazeer 2020, arXiv 2002.05202, eq. 6): down(silu(gate(x)) * up(x)). */
import { linear } from "./linear.ts";
import type { Scratch } from "./scratch.ts";

export interface SwigluWeights {
  readonly gate: Float32Array; // [intermediate, hidden]
  readonly up: Float32Array; // [intermediate, hidden]
  readonly down: Float32Array; // [hidden, intermediate]
}

/** x and out: [tokens, hidden]. */
export function swiglu(
  out: Float32Array,
  x: Float32Array,
  weights: SwigluWeights,
  tokens: number,
  hidden: number,
  intermediate: number,
  scratch: Scratch,
): void {
  const gate = scratch.take("swiglu.gate", tokens * intermediate);
  const up = scratch.take("swiglu.up", tokens * intermediate);
  linear(gate, x, weights.gate, tokens, hidden, intermediate);
  linear(up, x, weights.up, tokens, hidden, intermediate);
  for (let i = 0; i < tokens * intermediate; i++) {
    const value = gate[i];
    gate[i] = (value / (1 + Math.exp(-value))) * up[i];
  }
  linear(out, gate, weights.down, tokens, intermediate, hidden);
}
