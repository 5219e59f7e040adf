/**
 * Rotary position embedding (Su et al. 2021, arXiv 2104.09864, eq. 34) on the decoupled part of queries and keys,
 * with YaRN (Peng et al. 2023, arXiv 2309.00071, section 3.2 and eq. 22) where the configuration has it.
 * Pairs stay where they are: the dot product of a query and a key does not depend on the order of the pairs.
 */
import type { DeepseekV3Config, YarnConfig } from "../checkpoint/config.ts";

export class Rope {
  readonly #dim: number;
  readonly #interleaved: boolean;
  /** Radians a position, a pair. f32 as in the reference, whose rounding a trained model has seen. */
  readonly #frequencies: Float32Array; // [dim / 2]
  /** Multiplies cosines and sines (YaRN's temperature, as mscale / mscale_all_dim). */
  readonly #amplitude: number;
  /** What attention scores are multiplied with. */
  readonly softmaxScale: number;

  constructor(config: DeepseekV3Config) {
    this.#dim = config.qkRopeDim;
    this.#interleaved = config.ropeInterleaved;
    this.#frequencies = frequencies(config.qkRopeDim, config.ropeTheta, config.yarn);
    this.#amplitude = config.yarn ? amplitude(config.yarn) : 1;
    const mscale = config.yarn?.mscaleAllDim ? temperature(config.yarn.factor, config.yarn.mscaleAllDim) : 1;
    this.softmaxScale = (config.qkNopeDim + config.qkRopeDim) ** -0.5 * mscale * mscale;
  }

  /** Cosines and sines of `tokens` positions from `firstPosition`. cos, sin: [tokens, dim / 2]. */
  tables(cos: Float32Array, sin: Float32Array, firstPosition: number, tokens: number): void {
    const pairs = this.#dim / 2;
    for (let token = 0; token < tokens; token++) {
      for (let pair = 0; pair < pairs; pair++) {
        const angle = Math.fround((firstPosition + token) * this.#frequencies[pair]);
        cos[token * pairs + pair] = Math.cos(angle) * this.#amplitude;
        sin[token * pairs + pair] = Math.sin(angle) * this.#amplitude;
      }
    }
  }

  /** Rotates the `dim` values of each of x's lines into out's, `lines` of them by each token's row of the tables. */
  rotate(out: Lines, x: Lines, tokens: number, lines: number, cos: Float32Array, sin: Float32Array): void {
    const pairs = this.#dim / 2;
    const step = this.#interleaved ? 2 : 1;
    const partner = this.#interleaved ? 1 : pairs;
    const { values: to, stride: toStride } = out;
    const { values: from, stride: fromStride } = x;
    for (let line = 0; line < tokens * lines; line++) {
      const table = Math.floor(line / lines) * pairs;
      let toAt = out.first + line * toStride;
      let fromAt = x.first + line * fromStride;
      for (let pair = table; pair < table + pairs; pair++) {
        const a = from[fromAt];
        const b = from[fromAt + partner];
        to[toAt] = a * cos[pair] - b * sin[pair];
        to[toAt + partner] = b * cos[pair] + a * sin[pair];
        fromAt += step;
        toAt += step;
      }
    }
  }
}

/** Part of each line of a matrix: the values from `first` + line * `stride` on. */
export interface Lines {
  readonly values: Float32Array;
  readonly first: number;
  readonly stride: number;
}

function frequencies(dim: number, theta: number, yarn: YarnConfig | undefined): Float32Array {
  const result = new Float32Array(dim / 2);
  // Pairs below `low` turn often enough in the trained length to keep their frequency; those above `high` are
  // slowed down by the factor; between them a ramp (section 3.2).
  const [low, high] = yarn ? correctionRange(dim, theta, yarn) : [0, 0];
  for (let pair = 0; pair < result.length; pair++) {
    const kept = 1 / theta ** ((2 * pair) / dim);
    if (!yarn) {
      result[pair] = kept;
      continue;
    }
    const ramp = Math.min(Math.max((pair - low) / (high - low), 0), 1);
    result[pair] = (kept / yarn.factor) * ramp + kept * (1 - ramp);
  }
  return result;
}

function correctionRange(dim: number, theta: number, yarn: YarnConfig): [number, number] {
  const pairOf = (turns: number) =>
    (dim * Math.log(yarn.originalMaxPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  let low = pairOf(yarn.betaFast);
  let high = pairOf(yarn.betaSlow);
  if (yarn.truncate) {
    low = Math.floor(low);
    high = Math.ceil(high);
  }
  low = Math.max(low, 0);
  high = Math.min(high, dim - 1);
  return [low, low === high ? high + 0.001 : high];
}

/** YaRN eq. 22, with DeepSeek's weight `mscale` on the logarithm. */
function temperature(factor: number, mscale: number): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}

function amplitude(yarn: YarnConfig): number {
  if (yarn.attentionFactor !== undefined) return yarn.attentionFactor;
  if (yarn.mscale && yarn.mscaleAllDim) {
    return temperature(yarn.factor, yarn.mscale) / temperature(yarn.factor, yarn.mscaleAllDim);
  }
  return temperature(yarn.factor, 1);
}
