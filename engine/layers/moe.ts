/**
 * DeepSeekMoE (DeepSeek-V3 report, arXiv 2412.19437, eq. 12): the shared experts' output plus the weighted outputs
 * of the experts that the router chose. Tokens are grouped by expert, so that in prefill an expert's weights are
 * read once for all the tokens that came to it.
 */
import { addScaled } from "./linear.ts";
import { type RouterShape, type RouterWeights, route } from "./router.ts";
import type { Scratch } from "./scratch.ts";
import { type SwigluWeights, swiglu } from "./swiglu.ts";

export interface MoeShape extends RouterShape {
  readonly moeIntermediateSize: number;
  readonly sharedExperts: number;
}

export interface MoeWeights {
  readonly router: RouterWeights;
  readonly experts: readonly SwigluWeights[];
  /** All shared experts as one SwiGLU of sharedExperts * moeIntermediateSize. */
  readonly shared: SwigluWeights | undefined;
}

/** x and out: [tokens, hidden]; out is written. */
export function moe(
  out: Float32Array,
  x: Float32Array,
  weights: MoeWeights,
  tokens: number,
  shape: MoeShape,
  scratch: Scratch,
): void {
  const { hiddenSize, moeIntermediateSize, expertsPerToken } = shape;
  const experts = new Int32Array(tokens * expertsPerToken); // [tokens, expertsPerToken]
  const gates = scratch.take("moe.gates", tokens * expertsPerToken); // [tokens, expertsPerToken]
  route(experts, gates, x, weights.router, tokens, shape, scratch);

  if (weights.shared) {
    swiglu(out, x, weights.shared, tokens, hiddenSize, shape.sharedExperts * moeIntermediateSize, scratch);
  } else {
    out.fill(0, 0, tokens * hiddenSize);
  }

  const gathered = scratch.take("moe.gathered", tokens * hiddenSize);
  const results = scratch.take("moe.results", tokens * hiddenSize);
  for (const [expert, slots] of slotsByExpert(experts)) {
    for (let i = 0; i < slots.length; i++) {
      const from = Math.floor(slots[i] / expertsPerToken) * hiddenSize;
      gathered.set(x.subarray(from, from + hiddenSize), i * hiddenSize);
    }
    swiglu(
      results,
      gathered,
      weights.experts[expert],
      slots.length,
      hiddenSize,
      moeIntermediateSize,
      scratch,
    );
    for (let i = 0; i < slots.length; i++) {
      const to = Math.floor(slots[i] / expertsPerToken) * hiddenSize;
      addScaled(out, to, gates[slots[i]], results, i * hiddenSize, hiddenSize);
    }
  }
}

/** The slots (token * expertsPerToken + k) that chose each expert, by rising expert: a fixed order of summation. */
function slotsByExpert(experts: Int32Array): [number, number[]][] {
  const slots = new Map<number, number[]>();
  for (let slot = 0; slot < experts.length; slot++) {
    const list = slots.get(experts[slot]);
    if (list) list.push(slot);
    else slots.set(experts[slot], [slot]);
  }
  return [...slots].sort(([a], [b]) => a - b);
}
