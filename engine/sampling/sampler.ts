/**
 * From logits to the next token: greedy, or by temperature among the k likeliest and the nucleus (Holtzman et al.
 * 2019, arXiv 1904.09751), after penalties for what the answer has said (as the OpenAI API defines them). One sampler
 * a sequence, with its own random numbers: what else runs does not change what it draws.
 */
import { strict as assert } from "node:assert";
import type { Opening } from "./opening.ts";
import { Random } from "./random.ts";

export interface SamplingSettings {
  /** 0 is greedy. */
  readonly temperature: number;
  /** Only so many of the likeliest tokens; 0 is all. Before topP, whose part is taken of these. */
  readonly topK?: number;
  /** Subtracted from the logit of each token that the answer holds already. */
  readonly presencePenalty?: number;
  /** The same, times how often the answer holds it. */
  readonly frequencyPenalty?: number;
  /** Tokens that are never drawn. */
  readonly banned?: readonly number[];
  /** What the answer must begin with. */
  readonly opening?: Opening | undefined;
  /** In (0, 1]; the most likely tokens that together reach it are kept. */
  readonly topP: number;
  /** A safe integer. */
  readonly seed: number;
}

export class Sampler {
  readonly #settings: SamplingSettings;
  readonly #random: Random;
  /** How often each token was drawn; empty where nothing is penalised. */
  readonly #counts = new Map<number, number>();

  constructor(settings: SamplingSettings) {
    this.#settings = settings;
    this.#random = new Random(settings.seed);
  }

  /** logits: [vocabulary], which this uses up. Where two are equal, the smaller id is the greedy one. */
  sample(logits: Float32Array): number {
    const { presencePenalty = 0, frequencyPenalty = 0, banned = [], opening } = this.#settings;
    for (const [token, count] of this.#counts) logits[token] -= presencePenalty + frequencyPenalty * count;
    for (const token of banned) logits[token] = Number.NEGATIVE_INFINITY;
    const allowed = opening?.allowed;
    if (allowed) keepOnly(logits, allowed);
    const token = this.#choose(logits);
    if (presencePenalty !== 0 || frequencyPenalty !== 0)
      this.#counts.set(token, (this.#counts.get(token) ?? 0) + 1);
    opening?.advance(token);
    return token;
  }

  #choose(logits: Float32Array): number {
    const best = indexOfLargest(logits);
    assert(Number.isFinite(logits[best]), "the model gave no finite logit");
    return this.#settings.temperature === 0 ? best : this.#draw(logits, logits[best]);
  }

  #draw(logits: Float32Array, largest: number): number {
    const { temperature, topP, topK = 0 } = this.#settings;
    const weights = new Float64Array(logits.length);
    let total = 0;
    for (let token = 0; token < logits.length; token++) {
      const weight = Math.exp((logits[token] - largest) / temperature);
      weights[token] = weight;
      total += weight;
    }
    assert(Number.isFinite(total), "the model gave a logit that is no number");
    const kept = topK > 0 && topK < weights.length ? keepLargest(weights, topK) : total;
    if (topP >= 1) return this.#pick(weights, undefined, kept);
    const { nucleus, mass } = nucleusOf(weights, kept * topP, kept);
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

function keepOnly(logits: Float32Array, tokens: readonly number[]): void {
  const values = tokens.map((token) => logits[token]);
  logits.fill(Number.NEGATIVE_INFINITY);
  for (const [i, token] of tokens.entries()) logits[token] = values[i];
}

/** Clears all but the `count` largest weights, of equals those with the smaller ids. Returns the sum of the rest. */
function keepLargest(weights: Float64Array, count: number): number {
  const sorted = weights.toSorted();
  const least = sorted[sorted.length - count];
  let equals = 0;
  for (let i = sorted.length - count; i < sorted.length && sorted[i] === least; i++) equals++;
  let sum = 0;
  for (let token = 0; token < weights.length; token++) {
    if (weights[token] < least || (weights[token] === least && equals-- <= 0)) weights[token] = 0;
    else sum += weights[token];
  }
  return sum;
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
