/**
 * DeepSeekMoE (DeepSeek-V3 report, arXiv 2412.19437, eq. 12): the shared experts' output plus the weighted outputs
 * of the experts that the router chose. All tokens of a step are grouped by expert, whichever sequence they are of,
 * so that an expert's weights are read once a step.
 */
import type { Ops, Routing, SwigluMatrices } from "./ops.ts";
import { type RouterShape, type RouterWeights, route } from "./router.ts";
import type { Scratch } from "./scratch.ts";

export interface MoeWeights {
  readonly router: RouterWeights;
  readonly experts: readonly SwigluMatrices[];
  /** All shared experts as one SwiGLU of sharedExperts * moeIntermediateSize. */
  readonly shared: SwigluMatrices | undefined;
}

/** x and out: [tokens, hidden]; out is written. Returns where the tokens went. */
export function moe(
  out: Float32Array,
  x: Float32Array,
  weights: MoeWeights,
  tokens: number,
  shape: RouterShape,
  ops: Ops,
  scratch: Scratch,
): Routing {
  const chosen = route(x, weights.router, tokens, shape, ops, scratch);
  const routing = byExpert(chosen.experts, chosen.weights, shape);
  if (weights.shared) ops.swiglu(out, x, weights.shared, tokens);
  else out.fill(0, 0, tokens * weights.experts[0].down.rows);
  ops.experts(out, x, weights.experts, routing);
  return routing;
}

/** experts, weights: [tokens, expertsPerToken]. A counting sort: by rising expert, then by rising token. */
function byExpert(experts: Int32Array, weights: Float32Array, shape: RouterShape): Routing {
  const starts = new Int32Array(shape.routedExperts + 1);
  for (const expert of experts) starts[expert + 1]++;
  const used: number[] = [];
  const firstSlot: number[] = [];
  for (let expert = 0; expert < shape.routedExperts; expert++) {
    if (starts[expert + 1] > 0) {
      used.push(expert);
      firstSlot.push(starts[expert]);
    }
    starts[expert + 1] += starts[expert];
  }
  firstSlot.push(experts.length);
  const routing = {
    experts: used,
    firstSlot: Int32Array.from(firstSlot),
    tokens: new Int32Array(experts.length),
    weights: new Float32Array(experts.length),
  };
  for (let i = 0; i < experts.length; i++) {
    const slot = starts[experts[i]]++;
    routing.tokens[slot] = Math.floor(i / shape.expertsPerToken);
    routing.weights[slot] = weights[i];
  }
  return routing;
}
