/**
 * Which experts a token goes to (DeepSeek-V3 report, arXiv 2412.19437, eq. 13 to 16): sigmoid affinities; the
 * correction bias takes part in the choice only, never in the weight; the choice is limited to the best groups,
 * a group counting as the sum of its two best (section 2.1.2, node-limited routing).
 */
import type { Matrix, Ops } from "./ops.ts";
import type { Scratch } from "./scratch.ts";

export interface RouterShape {
  readonly routedExperts: number;
  readonly expertsPerToken: number;
  readonly groups: number;
  readonly groupsPerToken: number;
  readonly normaliseTopK: boolean;
  readonly routedScalingFactor: number;
}

export interface RouterWeights {
  /** Exact, whatever the other matrices are: a small error would change the choice. */
  readonly gate: Matrix; // [experts, hidden]
  readonly correctionBias: Float32Array; // [experts]
}

/** For each token `expertsPerToken` experts, the best first, and what their outputs are multiplied with. */
export interface Choice {
  readonly experts: Int32Array; // [tokens, expertsPerToken]
  readonly weights: Float32Array; // [tokens, expertsPerToken]
}

/** x: [tokens, hidden]. */
export function route(
  x: Float32Array,
  router: RouterWeights,
  tokens: number,
  shape: RouterShape,
  ops: Ops,
  scratch: Scratch,
): Choice {
  const count = shape.routedExperts;
  const experts = new Int32Array(tokens * shape.expertsPerToken);
  const weights = new Float32Array(tokens * shape.expertsPerToken);
  const scores = scratch.take("router.scores", count); // [tokens, experts]
  const choice = new Float32Array(count);
  ops.matmul(scores, x, router.gate, tokens);
  for (let token = 0; token < tokens; token++) {
    const row = token * count;
    for (let expert = 0; expert < count; expert++) {
      const score = 1 / (1 + Math.exp(-scores[row + expert]));
      scores[row + expert] = score;
      choice[expert] = score + router.correctionBias[expert];
    }
    if (shape.groups > 1) keepBestGroups(choice, shape);
    const to = token * shape.expertsPerToken;
    let sum = 0;
    for (let k = 0; k < shape.expertsPerToken; k++) {
      const best = indexOfLargest(choice, count);
      choice[best] = Number.NEGATIVE_INFINITY;
      experts[to + k] = best;
      weights[to + k] = scores[row + best];
      sum += scores[row + best];
    }
    const scale = shape.routedScalingFactor / (shape.normaliseTopK ? sum + 1e-20 : 1);
    for (let k = 0; k < shape.expertsPerToken; k++) weights[to + k] *= scale;
  }
  return { experts, weights };
}

/** Takes the experts of all but the best groups out of the choice. */
function keepBestGroups(choice: Float32Array, shape: RouterShape): void {
  const size = shape.routedExperts / shape.groups;
  const groupScores = new Float32Array(shape.groups);
  for (let group = 0; group < shape.groups; group++) {
    let first = Number.NEGATIVE_INFINITY;
    let second = Number.NEGATIVE_INFINITY;
    for (let i = group * size; i < (group + 1) * size; i++) {
      if (choice[i] > first) {
        second = first;
        first = choice[i];
      } else if (choice[i] > second) {
        second = choice[i];
      }
    }
    groupScores[group] = first + second;
  }
  const kept = new Uint8Array(shape.groups);
  for (let k = 0; k < shape.groupsPerToken; k++) {
    const best = indexOfLargest(groupScores, shape.groups);
    groupScores[best] = Number.NEGATIVE_INFINITY;
    kept[best] = 1;
  }
  for (let i = 0; i < shape.routedExperts; i++) {
    if (!kept[Math.floor(i / size)]) choice[i] = Number.NEGATIVE_INFINITY;
  }
}

function indexOfLargest(values: Float32Array, length: number): number {
  let best = 0;
  for (let i = 1; i < length; i++) if (values[i] > values[best]) best = i;
  return best;
}
