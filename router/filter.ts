/** Why a backend may not serve a request: the first reason in this order, or none. */

import type { Candidate } from "./candidates.ts";
import { promptTokens } from "./cost.ts";
import { isEjected, isProbed, isResting } from "./standing.ts";
import type { BackendView, Health, Preferences, RouteRequest } from "./types.ts";

/**
 * From what no waiting changes to what changes in a second. The furthest that any backend came says why there is
 * no placement.
 */
export const REASONS = [
  "model",
  "residency",
  "preference",
  "context",
  "tools",
  "tried",
  "misconfigured",
  "draining",
  "ejected",
  "resting",
  "probed",
  "busy",
] as const;
export type Reason = (typeof REASONS)[number];

/** What a request allows, looked up once a decision. */
export interface Bounds {
  readonly request: RouteRequest;
  /** By the view's regions: whether residency allows it. */
  readonly allowed: readonly boolean[];
  readonly tokens: number;
}

export function boundsOf(request: RouteRequest, regions: readonly string[]): Bounds {
  const { residency } = request;
  const allowed = regions.map((region) => residency === undefined || residency.includes(region));
  return { request, allowed, tokens: promptTokens(request) + request.maxOutput };
}

export function whyNot(
  candidate: Candidate,
  { request, allowed, tokens }: Bounds,
  health: Health | undefined,
  nowMs: number,
): Reason | undefined {
  // Before any preference, and alone: what an account may not use, no wish of a request brings back.
  if (!allowed[candidate.region]) return "residency";
  if (!isWished(candidate.backend, request.preferences)) return "preference";
  if (tokens > candidate.contextLength) return "context";
  if (request.tools === true && !candidate.callsTools) return "tools";
  if (request.exclude.length > 0 && request.exclude.includes(candidate.id)) return "tried";
  if (candidate.lacksModel) return "misconfigured";
  if (!candidate.isActive) return "draining";
  if (health !== undefined) {
    if (health.drainingUntilMs > nowMs) return "draining";
    if (isEjected(health, nowMs)) return "ejected";
    if (isResting(health, nowMs)) return "resting";
    if (health.retryAtMs > 0 && isProbed(health, nowMs)) return "probed";
  }
  return candidate.isFull ? "busy" : undefined;
}

function isWished(backend: BackendView, preferences: Preferences): boolean {
  const { region, only, ignore, order, allow_fallbacks } = preferences;
  return (
    (region === undefined || backend.region === region) &&
    (only === undefined || namedAt(only, backend) >= 0) &&
    (ignore === undefined || namedAt(ignore, backend) < 0) &&
    (order === undefined || allow_fallbacks !== false || namedAt(order, backend) >= 0)
  );
}

/** Where a list names the backend, by id, name or region, whole; -1: nowhere. */
export function namedAt(names: readonly string[], { id, name, region }: BackendView): number {
  return names.findIndex((wanted) => wanted === id || wanted === region || wanted === name);
}
