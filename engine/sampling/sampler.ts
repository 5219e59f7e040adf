/**
 * From logits to the next token: greedy, or by temperature and nucleus (Holtzman et al. 2019, arXiv 1904.09751).
 * One sampler a sequence, with its own random numbers: what else runs does not change what it draws.
 */
import { strict as assert } from "node:assert";
import { Random } from "./random.ts";

export interface SamplingSettings {
  /** 0 is greedy. */
  readonly temperature: number;
  /** In (0, 1]; the most likely tokens that together reach it are kept. */
  readonly topP: number;
  /** A safe integer. */
  readonly seed: number;
}

export class Sampler {
  readonly #settings: SamplingSettings;
  readonly #random: Random;

  constructor(settings: SamplingSettings) {
    this.#settings = settings;
    this.#random = new Random(settings.seed);
  }

  /** logits: [vocabulary]. Where two are equal, the smaller id is the greedy one. */
  sample(logits: Float32Array): number {
    const best = indexOfLargest(logits);
    assert(Number.isFinite(logits[best]), "the model gave no finite logit");
    return this.#settings.temperature === 0 ? best : this.#draw(logits, logits[best]);
  }

  #draw(logits: Float32Array, largest: number): number {
    const { temperature, topP } = this.#settings;
    const weights = new Float64Array(logits.length);
    let total = 0;
    for (let token = 0; token < logits.length; token++) {
      const weight = Math.exp((logits[token] - largest) / temperature);
      weights[token] = weight;
      total += weight;
    }
    assert(Number.isFinite(total), "the model gave a logit that is no number");
    if (topP >= 1) return this.#pick(weights, undefined, total);
    const { nucleus, mass } = nucleusOf(weights, total * topP, total);
    return this.#pick(weights, nucleus, mass);
  }

  /** A token with probability weight / mass, among `tokens` or all. */
  #pick(weights: Float64Array, tokens: readonly number[] | undefined, mass: number): number {
    let left = this.#random.next() * mass;
    const count = tokens?.length ?? weights.length;
    let chosen = 0;
    for (let i = 0; i < count; i++) {
      const token = tokens ? tokens[i] : i;
      if (weights[token] > 0) chosen = token;
      left -= weights[token];
      if (left < 0) return chosen;
    }
    return chosen; // rounding left a little over: the last token that has any weight
  }
}

/** The fewest tokens, by falling weight, whose weights reach `wanted`. */
function nucleusOf(
  weights: Float64Array,
  wanted: number,
  total: number,
): { nucleus: number[]; mass: number } {
  // A token below this cannot be in the nucleus: all such tokens together weigh less than what may be left out.
  const floor = (total - wanted) / weights.length;
  const candidates: number[] = [];
  for (let token = 0; token < weights.length; token++) if (weights[token] >= floor) candidates.push(token);
  candidates.sort((a, b) => weights[b] - weights[a] || a - b);
  const nucleus: number[] = [];
  let mass = 0;
  for (const token of candidates) {
    nucleus.push(token);
    mass += weights[token];
    if (mass >= wanted) break;
  }
  return { nucleus, mass };
}

function indexOfLargest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++)
    if (values[i] > values[best] || Number.isNaN(values[best])) best = i;
  return best;
}
