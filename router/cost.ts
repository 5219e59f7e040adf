/**
 * The cost of one backend for one request: seconds, each term named, so that an answer can say why it ran where it
 * ran. README.md has the formulae in one table.
 */

import type { Candidate, Candidates } from "./candidates.ts";
import { USUAL_OUTPUT_TOKENS } from "./load.ts";
import { failureOdds, LEAST_FAILURE_SECONDS, type RegionTrouble, silentSeconds } from "./standing.ts";
import type { FleetView, Health, RouteRequest } from "./types.ts";

/** Ties are broken by chance within this, so that equal backends share the work. */
const TIE_SECONDS = 0.001;
/**
 * Counts that are older say no less: they are read anew while requests come, so nobody has asked since. Without this
 * the first request after a quiet minute would be sent by chance, as far away as that minute is long.
 */
const MOST_BLIND_SECONDS = 5;
/** What a retry loses in a region where this request failed already, each time: such failures come together. */
const TRIED_REGION_SECONDS = 1;
/** A caller's second is worth 3.60 USD an hour: a request that costs 0.001 USD more must be a second faster. */
export const SECONDS_PER_USD = 1_000;
/** vLLM's block, times eight: fine enough for a turn of a conversation, and 2,048 of them are 256K tokens. */
export const BLOCK_TOKENS = 128;

/** Seconds, all of them. */
export interface Terms {
  distance: number;
  queue: number;
  prefill: number;
  memory: number;
  decode: number;
  slowing: number;
  price: number;
  health: number;
  silence: number;
  tie: number;
}

/** What does not depend on the backend, once a decision. */
export interface Question {
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly blockTokens: number;
  readonly secondsPerUsd: number;
  readonly nowMs: number;
  /** Seconds that the counts of load are old. */
  readonly blindSeconds: number;
  /** Of each region of the view: its failures lately, and how often this request failed there. */
  readonly troubles: readonly RegionTrouble[];
  readonly tried: Float64Array;
}

export function question(
  request: RouteRequest,
  fleet: FleetView,
  { regions, regionOf }: Candidates,
  troubles: readonly RegionTrouble[],
  nowMs: number,
): Question {
  const tried = new Float64Array(regions.length);
  for (const backend of request.exclude) {
    const region = regionOf.get(backend);
    if (region !== undefined) tried[region]!++;
  }
  return {
    promptTokens: promptTokens(request),
    outputTokens: Math.min(request.maxOutput, request.expectedOutput ?? USUAL_OUTPUT_TOKENS),
    blockTokens: request.blockTokens ?? BLOCK_TOKENS,
    secondsPerUsd: fleet.secondsPerUsd ?? SECONDS_PER_USD,
    nowMs,
    blindSeconds: Math.min(MOST_BLIND_SECONDS, (fleet.loadAgeMs ?? 0) / 1000),
    troubles,
    tried,
  };
}

/**
 * Chance decides among equals; and with an old view, among those that are busy: what went there since is not known,
 * and if everyone takes the best of the same view, it is the best no more.
 */
export function tieSeconds(candidate: Candidate, asked: Question, random: () => number): number {
  return random() * (TIE_SECONDS + asked.blindSeconds * candidate.utilisation);
}

export function promptTokens(request: RouteRequest): number {
  return Math.min(request.promptTokens, request.expectedPromptTokens ?? request.promptTokens);
}

export function noTerms(): Terms {
  return {
    distance: 0,
    queue: 0,
    prefill: 0,
    memory: 0,
    decode: 0,
    slowing: 0,
    price: 0,
    health: 0,
    silence: 0,
    tie: 0,
  };
}

/** Writes the terms into `into` (a decision over a thousand backends makes no thousand objects); their sum. */
export function weigh(
  candidate: Candidate,
  asked: Question,
  health: Health | undefined,
  cachedTokens: number,
  tie: number,
  into: Terms,
): number {
  const { promptTokens, outputTokens } = asked;
  const uncached = promptTokens - cachedTokens;
  const usd =
    cachedTokens * candidate.cachedInputUsd +
    uncached * candidate.inputUsd +
    outputTokens * candidate.outputUsd;
  into.distance = candidate.distanceSeconds;
  const busySeconds = health ? Math.max(0, health.busyUntilMs - asked.nowMs) / 1000 : 0;
  into.queue = Math.max(candidate.queueSeconds, busySeconds);
  into.prefill = uncached * candidate.secondsAPromptToken;
  // A request that is evicted has its prompt computed again.
  into.memory = candidate.tightness * promptTokens * candidate.secondsAPromptToken;
  into.decode = outputTokens * candidate.secondsAToken;
  into.slowing = outputTokens * candidate.othersSecondsAToken;
  into.price = usd * asked.secondsPerUsd;
  into.health = asked.tried[candidate.region]! * TRIED_REGION_SECONDS;
  const odds = failureOdds(health, asked.troubles[candidate.region]!, asked.nowMs);
  // One that refused is full by its own word.
  if (busySeconds > 0) into.health += outputTokens * candidate.fullSecondsAToken;
  if (odds > 0) {
    // One that fails looks idle. A failure costs as the slowest success and an answer of a full backend do, so that
    // failing fast wins nothing.
    const slowest = health?.failureSeconds ?? LEAST_FAILURE_SECONDS;
    into.health += odds * (slowest + outputTokens * candidate.fullSecondsAToken);
  }
  into.silence = health ? silentSeconds(health, asked.nowMs) : 0;
  into.tie = tie;
  return sum(into);
}

/** Seconds to the first token: what a deadline is held against, and what `sort: "latency"` ranks by. */
export function firstTokenSeconds(terms: Terms): number {
  return terms.distance + terms.queue + terms.prefill;
}

function sum(terms: Terms): number {
  return (
    terms.distance +
    terms.queue +
    terms.prefill +
    terms.memory +
    terms.decode +
    terms.slowing +
    terms.price +
    terms.health +
    terms.silence +
    terms.tie
  );
}
