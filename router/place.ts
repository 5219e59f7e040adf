/**
 * Ranks the backends that may serve a request, cheapest first, and says why when there is none. A decision over a
 * thousand backends makes objects for the ten best only.
 */
import { type Candidate, candidatesOf, type Healths, healthsOf } from "./candidates.ts";
import {
  firstTokenSeconds,
  noTerms,
  type Question,
  question,
  type Terms,
  tieSeconds,
  weigh,
} from "./cost.ts";
import { type Bounds, boundsOf, namedAt, REASONS, type Reason, whyNot } from "./filter.ts";
import { matchPrefix } from "./prefix.ts";
import { backendOfSession } from "./sessions.ts";
import { isProbed, regionTroubles } from "./standing.ts";
import type { BackendView, FleetView, Health, Placement, RouteRequest } from "./types.ts";

/** Placements that come back: more than any request makes attempts. */
export const BEST = 10;
/** Of a conversation's prompt, what the backend of its last turn is taken to have, where no index knows. */
const SESSION_CACHED_SHARE = 0.5;
/** When nothing else is left, one that rests may be tried this long after any failure, and after any such try. */
const LAST_RESORT_MS = 25;
const LAST_RESORT_TRY_MS = 1_000;
const LEAST_RETRY_SECONDS = 1;
const LONGEST_RETRY_SECONDS = 60;
/** The whole cost breaks ties of one that is ranked by a single matter. */
const WHOLE_COST_SHARE = 1e-6;

export type Decision =
  | { readonly kind: "placed"; readonly placements: readonly Placement[] }
  /** Nothing can take it now; ask again in `retryAfterSeconds` (whole seconds, at least one). */
  | { readonly kind: "shed"; readonly reason: Reason; readonly retryAfterSeconds: number }
  /** Nothing could ever: waiting does not help. */
  | { readonly kind: "impossible"; readonly reason: Reason };

export interface TurnedDown {
  readonly backend: string;
  readonly region: string;
  readonly reason: Reason;
}

/** The decision, the same as `decide` with the same arguments, and why each other backend of the model is not in it. */
export interface Explanation {
  readonly decision: Decision;
  readonly turnedDown: readonly TurnedDown[];
}

/** The ten best placements, cheapest first; empty where nothing can or may take the request. */
export function place(
  request: RouteRequest,
  fleet: FleetView,
  nowMs: number,
  random: () => number,
): readonly Placement[] {
  const decision = decide(request, fleet, nowMs, random);
  return decision.kind === "placed" ? decision.placements : [];
}

/** `place` with a reason, and a time to come back, where there is no placement. */
export function decide(
  request: RouteRequest,
  fleet: FleetView,
  nowMs: number,
  random: () => number,
): Decision {
  return rank(request, fleet, nowMs, random, undefined);
}

/** For one who asks why. */
export function explain(
  request: RouteRequest,
  fleet: FleetView,
  nowMs: number,
  random: () => number,
): Explanation {
  const turnedDown: TurnedDown[] = [];
  const decision = rank(request, fleet, nowMs, random, turnedDown);
  return { decision, turnedDown };
}

function rank(
  request: RouteRequest,
  fleet: FleetView,
  nowMs: number,
  random: () => number,
  turnedDown: TurnedDown[] | undefined,
): Decision {
  const all = candidatesOf(fleet.backends);
  const candidates = all.byModel.get(request.model) ?? [];
  const healths = healthsOf(candidates, fleet.health);
  const bounds = boundsOf(request, all.regions);
  const troubles = regionTroubles(all.regions.length, candidates, healths, nowMs);
  const asked = question(request, fleet, all, troubles, nowMs);
  const cached = cachedTokens(request, fleet, all.positions, candidates, asked);
  const { order, sort, allow_fallbacks } = request.preferences;
  const scratch = noTerms();
  const best: Kept[] = [];
  let furthest = -1;
  let retrySeconds = Number.POSITIVE_INFINITY;

  for (const candidate of candidates) {
    const health = healths[candidate.position];
    let reason = whyNot(candidate, bounds, health, nowMs);
    let waitSeconds = 0;
    if (reason === undefined) {
      const tokens = cached ? cached[candidate.position]! : 0;
      const cost = weigh(candidate, asked, health, tokens, 0, scratch);
      waitSeconds = firstTokenSeconds(scratch) - request.budgetMs / 1000;
      if (waitSeconds <= 0) {
        const tier = order ? tierOf(order, candidate.backend) : 0;
        const key = sort ? sortKey(scratch, sort) + cost * WHOLE_COST_SHARE : cost;
        // A tie only makes it dearer: what does not get in without one needs none.
        if (!getsIn(best, tier, key)) continue;
        const tie = tieSeconds(candidate, asked, random);
        keep(best, { candidate, health, tokens, tie, tier, key: key + tie });
        continue;
      }
      // Its first token would come too late: for this request it is over its limit.
      reason = "busy";
    } else waitSeconds = secondsUntil(reason, candidate, health, nowMs);
    furthest = Math.max(furthest, REASONS.indexOf(reason));
    retrySeconds = Math.min(retrySeconds, waitSeconds);
    turnedDown?.push({ backend: candidate.id, region: candidate.backend.region, reason });
  }

  if (best.length === 0) {
    const mayRest = request.lastResort !== false;
    const candidate = mayRest ? lastResort(candidates, bounds, healths, nowMs) : undefined;
    if (!candidate) return refusal(furthest, retrySeconds, random);
    const tokens = cached ? cached[candidate.position]! : 0;
    best.push({ candidate, health: healths[candidate.position], tokens, tie: 0, tier: 0, key: 0 });
  }
  const wanted = allow_fallbacks === false && !order ? 1 : BEST;
  return { kind: "placed", placements: best.slice(0, wanted).map((kept) => placement(kept, asked)) };
}

function placement({ candidate, health, tokens, tie }: Kept, asked: Question): Placement {
  const terms = noTerms();
  const cost = weigh(candidate, asked, health, tokens, tie, terms);
  const { id, region } = candidate.backend;
  return { prefill: id, decode: id, region, cost, terms: { ...terms }, cachedTokens: tokens };
}

// When nothing may take it.

/**
 * All that could serve it rest, are ejected or are full: one that rests is tried, gently. Not sooner after its last
 * failure than that failure took, and not within 25 ms of any other's, nor a second of a try that is
 * under way. So a lone backend is found again at once, capacity that came back is used, and a dead fleet sees no storm.
 */
function lastResort(
  candidates: readonly Candidate[],
  bounds: Bounds,
  healths: Healths,
  nowMs: number,
): Candidate | undefined {
  let soonest: Candidate | undefined;
  let soonestAtMs = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const health = healths[candidate.position];
    const reason = whyNot(candidate, bounds, health, nowMs);
    if (!health || (reason !== "resting" && reason !== "ejected" && reason !== "probed")) continue;
    if (nowMs - health.probeAtMs < LAST_RESORT_TRY_MS || nowMs - health.failedAtMs < LAST_RESORT_MS)
      return undefined;
    if (isProbed(health, nowMs) || nowMs - health.failedAtMs < health.failureMs) continue;
    const atMs = Math.max(health.retryAtMs, health.ejectedUntilMs);
    if (atMs >= soonestAtMs) continue;
    soonest = candidate;
    soonestAtMs = atMs;
  }
  return soonest;
}

function refusal(furthest: number, retrySeconds: number, random: () => number): Decision {
  const reason = REASONS[furthest] ?? "model";
  if (furthest < REASONS.indexOf("misconfigured")) return { kind: "impossible", reason };
  // Up to a quarter later by chance: those who were refused together do not come back together.
  const seconds = Math.ceil(Number.isFinite(retrySeconds) ? retrySeconds * (1 + random() / 4) : 0);
  const retryAfterSeconds = Math.min(LONGEST_RETRY_SECONDS, Math.max(LEAST_RETRY_SECONDS, seconds));
  return { kind: "shed", reason, retryAfterSeconds };
}

/** When a backend that was turned down may take it: infinite where no time can be named. */
function secondsUntil(
  reason: Reason,
  candidate: Candidate,
  health: Health | undefined,
  nowMs: number,
): number {
  if (reason === "busy") return candidate.roomSeconds;
  if (reason === "probed") return LEAST_RETRY_SECONDS;
  if (reason === "ejected") return (health!.ejectedUntilMs - nowMs) / 1000;
  if (reason === "resting") return (health!.retryAtMs - nowMs) / 1000;
  return Number.POSITIVE_INFINITY;
}

// What is cached where.

/** Prompt tokens that each candidate is believed to have, by its position; undefined: none anywhere. */
function cachedTokens(
  request: RouteRequest,
  fleet: FleetView,
  positions: ReadonlyMap<string, number>,
  candidates: readonly Candidate[],
  asked: Question,
): Float64Array | undefined {
  const { salt, session, blocks } = request;
  let cached: Float64Array | undefined;
  const has = (backend: string, tokens: number) => {
    const position = positions.get(backend);
    // One that serves another model has a position among others.
    if (position === undefined || candidates[position]?.id !== backend) return;
    cached ??= new Float64Array(candidates.length);
    cached[position] = Math.min(tokens, asked.promptTokens);
  };
  if (fleet.prefixes)
    matchPrefix(fleet.prefixes, salt, blocks, (backend, many) => has(backend, many * asked.blockTokens));
  if (!cached && session !== undefined && fleet.sessions) {
    const backend = backendOfSession(fleet.sessions, salt, session);
    if (backend !== undefined) has(backend, Math.floor(asked.promptTokens * SESSION_CACHED_SHARE));
  }
  return cached;
}

// Order among those that may.

/** One of the best so far. */
interface Kept {
  readonly candidate: Candidate;
  readonly health: Health | undefined;
  /** Cached. */
  readonly tokens: number;
  readonly tie: number;
  readonly tier: number;
  readonly key: number;
}

function tierOf(order: readonly string[], backend: BackendView): number {
  const at = namedAt(order, backend);
  return at < 0 ? order.length : at;
}

function sortKey(terms: Terms, sort: "price" | "throughput" | "latency"): number {
  const trouble = terms.health + terms.silence;
  switch (sort) {
    case "price":
      return terms.price + trouble;
    case "throughput":
      return terms.decode + trouble;
    case "latency":
      return firstTokenSeconds(terms) + trouble;
  }
}

function getsIn(best: readonly Kept[], tier: number, key: number): boolean {
  return best.length < BEST || comesBefore(tier, key, best[BEST - 1]!);
}

/** Into its place among the best; with ten there, the last falls out. */
function keep(best: Kept[], kept: Kept): void {
  if (best.length === BEST) {
    if (!comesBefore(kept.tier, kept.key, best[BEST - 1]!)) return;
    best.pop();
  }
  let at = best.length;
  while (at > 0 && comesBefore(kept.tier, kept.key, best[at - 1]!)) at--;
  best.splice(at, 0, kept);
}

function comesBefore(tier: number, key: number, other: Kept): boolean {
  return tier < other.tier || (tier === other.tier && key < other.key);
}
