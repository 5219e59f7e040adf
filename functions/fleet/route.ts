/**
 * From a request to a place in a pool. The isolate's view says which region is best for it; that region's pool, which
 * counts what every isolate placed, says which backend. A pool that cannot be reached is done without: rendezvous
 * hashing with bounded load on the last known view.
 */
import { chainedBlocks } from "../../router/blocks.ts";
import { BLOCK_TOKENS } from "../../router/cost.ts";
import { fallback } from "../../router/fallback.ts";
import { hash53 } from "../../router/hash.ts";
import { decide, type Explanation, explain, type TurnedDown } from "../../router/place.ts";
import type { FleetView, Placement, RouteRequest } from "../../router/types.ts";
import { outputOfEach } from "../admission/bound.ts";
import { unfit } from "../dispatch/dialects/serves.ts";
import type { Env } from "../env.ts";
import type { AccountId, AttemptId } from "../ids.ts";
import { promptText } from "../surfaces/openai/messages.ts";
import type { ChatRequest } from "../surfaces/openai/schema.ts";
import type { Bound } from "../usage/plausible.ts";
import { distanceTo, measure } from "./distance.ts";
import type { Nowhere } from "./nowhere.ts";
import { assign, fleetView, refreshViews } from "./pools.ts";
import { regionsIn } from "./residency.ts";
import { type Backend, backendsOf, type Snapshot } from "./snapshot.ts";

const CHARACTERS_A_TOKEN = 4;

/** What stays the same over all attempts of a request. */
export interface Ask {
  readonly request: ChatRequest;
  readonly model: string;
  readonly bound: Bound;
  readonly salt: AccountId;
  /** The whole prompt's hash, with its model: what kills one model's engine may be nothing to another's. */
  readonly prompt: string;
  readonly blocks: readonly string[];
  readonly expectedPromptTokens: number;
  /** Whether it brings tools. */
  readonly tools: boolean;
  readonly from: { readonly latitude: number; readonly longitude: number } | undefined;
  readonly deadlineAt: number;
}

export type Placed =
  | { readonly kind: "placed"; readonly backend: Backend; readonly placement: Placement }
  | Nowhere;

/** Whom a placement was between: those that could take it, cheapest first, and those that could not. */
export interface Ranking {
  readonly ranked: readonly Placement[];
  readonly turnedDown: readonly TurnedDown[];
}

/** The prompt as the router needs it: what it is likely to be in tokens, its blocks, whether it brings tools. */
export function promptOf(
  request: ChatRequest,
  bound: Bound,
): Pick<Ask, "prompt" | "blocks" | "expectedPromptTokens" | "tools"> {
  const text = promptText(request);
  return {
    prompt: hash53(text, hash53(request.model)).toString(36),
    blocks: chainedBlocks(text, BLOCK_TOKENS * CHARACTERS_A_TOKEN),
    // Never more than is held: what is beyond the context is refused, and must not look like work.
    expectedPromptTokens: Math.min(bound.maxInput, Math.ceil(text.length / CHARACTERS_A_TOKEN)),
    tools: request.tools.length > 0,
  };
}

/** Reads anew what is old of pools and distances: beside the request that finds it so, never in its way. */
export async function refreshFleet(env: Env, view: Snapshot, model: string): Promise<void> {
  await Promise.all([refreshViews(env, view, model), measure(view, backendsOf(view, model))]);
}

/** Where this isolate believes the request will go: what the admission is told, or why nowhere. */
export function predict(view: Snapshot, ask: Ask, residency: readonly string[] | undefined, nowMs: number) {
  const decision = decide(requestOf(view, ask, residency, [], nowMs), fleetOf(view, ask), nowMs, Math.random);
  return decision.kind === "placed" ? placed(view, decision.placements[0]!) : decision;
}

/** The same with every candidate and why the others are none. */
export function explained(
  view: Snapshot,
  ask: Ask,
  residency: readonly string[] | undefined,
  nowMs: number,
): Explanation {
  return explain(requestOf(view, ask, residency, [], nowMs), fleetOf(view, ask), nowMs, Math.random);
}

/** Takes a place for an attempt: in the best region's pool, or in the next one's where that has none. */
export async function takePlace(
  env: Env,
  view: Snapshot,
  ask: Ask,
  residency: readonly string[] | undefined,
  exclude: readonly string[],
  attempt: AttemptId,
): Promise<Placed & { readonly ranking: Ranking }> {
  const nowMs = Date.now();
  const asked = requestOf(view, ask, residency, exclude, nowMs);
  const fleet = fleetOf(view, ask);
  const { decision, turnedDown } = explain(asked, fleet, nowMs, Math.random);
  if (decision.kind !== "placed") return { ...decision, ranking: { ranked: [], turnedDown } };
  /** A pool knows its own backends better; of other regions this isolate's view is all there is. */
  const ranking = (region: string, best: readonly Placement[]): Ranking => ({
    ranked: [...best, ...decision.placements.filter((placement) => placement.region !== region)],
    turnedDown,
  });
  let refusal: Placed = { kind: "impossible", reason: undefined };
  const regions = [...new Set(decision.placements.map((placement) => placement.region))];
  for (const [index, region] of regions.entries()) {
    const pool = { region, model: ask.model };
    // What rests is tried only where no other region is left to ask.
    const request = { ...asked, lastResort: index === regions.length - 1 };
    const distanceMs = fleet.backends.find((backend) => backend.region === region)?.distanceMs ?? 0;
    const answer = await assign(env, { pool, request, attempt, untilMs: ask.deadlineAt, distanceMs });
    if (!answer) {
      const there = { ...fleet, backends: fleet.backends.filter((backend) => backend.region === region) };
      const last = fallback(request, there, ask.blocks[0] ?? attempt, nowMs)[0];
      if (last) return { ...placed(view, last), ranking: ranking(region, [last]) };
    } else if (answer.kind === "placed") {
      return { ...placed(view, answer.placements[0]!), ranking: ranking(region, answer.placements) };
    } else if (answer.kind === "shed") refusal = answer;
  }
  return { ...refusal, ranking: { ranked: decision.placements, turnedDown } };
}

function placed(view: Snapshot, placement: Placement): Placed {
  const backend = view.backends.get(placement.decode);
  return backend ? { kind: "placed", backend, placement } : { kind: "impossible", reason: undefined };
}

function fleetOf(view: Snapshot, ask: Ask): FleetView {
  return fleetView(view, ask.model, (id) => {
    const region = view.regions.get(id);
    return region && distanceTo(region, ask.from);
  });
}

function requestOf(
  view: Snapshot,
  ask: Ask,
  residency: readonly string[] | undefined,
  exclude: readonly string[],
  nowMs: number,
): RouteRequest {
  const regions = regionsIn(view, residency);
  // A backend ends an answer where the context does, so only the room that is left counts: the model's own context
  // shuts nobody out by an estimate, and a backend that has less gets what it is likely to hold.
  const contextLength = view.models.get(ask.model)?.contextLength ?? Number.POSITIVE_INFINITY;
  const expectedPromptTokens = Math.min(ask.expectedPromptTokens, contextLength - 1);
  return {
    model: ask.model,
    promptTokens: ask.bound.maxInput,
    maxOutput: Math.min(outputOfEach(ask.bound, ask.request), contextLength - expectedPromptTokens),
    expectedPromptTokens,
    blocks: ask.blocks,
    blockTokens: BLOCK_TOKENS,
    salt: ask.salt,
    ...(ask.request.session !== undefined && { session: ask.request.session }),
    edgeZone: "",
    ...(ask.tools && { tools: true }),
    preferences: ask.request.preferences,
    ...(regions && { residency: regions }),
    exclude: [...exclude, ...unfit(backendsOf(view, ask.model), ask.request)],
    budgetMs: ask.deadlineAt - nowMs,
  };
}
