/** The headers of an answer: where it ran, what was ignored, and the limits as admission saw them. */
import type { Explanation } from "../../router/place.ts";
import type { LimitState, Limits } from "../admission/holder.ts";
import type { Opened, Run } from "./run.ts";

export function answerHeaders(run: Run, opened?: Opened): Headers {
  const headers = new Headers();
  limitHeaders(headers, run.admitted.limits);
  ignoredHeader(headers, run.request.ignored);
  // A committed stream has no placement yet; GET /v1/generation has it afterwards.
  headers.set("x-causeway-region", opened?.backend.region ?? "pending");
  headers.set("x-causeway-backend", opened?.backend.id ?? "pending");
  headers.set("x-causeway-attempts", run.attempts.length > 0 ? String(run.attempts.length) : "pending");
  if (run.explanation) headers.set("x-causeway-candidates", candidates(run.explanation));
  return headers;
}

/** The router's ranking: each candidate's terms, and why the others are none. */
function candidates({ decision, turnedDown }: Explanation): string {
  const ranked = decision.kind === "placed" ? decision.placements : [];
  const shown = ranked.map(({ decode, region, cost, terms }) => {
    return { backend: decode, region, cost: round(cost), terms: rounded(terms) };
  });
  return JSON.stringify({ ranked: shown, turned_down: turnedDown.slice(0, 20) });
}

/** Seconds to the millisecond: enough to say why, and short. Terms of nothing are left out. */
export function rounded(terms: Readonly<Record<string, number>>): Record<string, number> {
  const entries = Object.entries(terms).map(([name, seconds]) => [name, round(seconds)] as const);
  return Object.fromEntries(entries.filter(([, seconds]) => seconds !== 0));
}

const round = (seconds: number): number => Math.round(seconds * 1_000) / 1_000;

export function limitHeaders(headers: Headers, limits: Limits | undefined): void {
  for (const [name, state] of Object.entries(limits ?? {}) as [string, LimitState][]) {
    headers.set(`x-ratelimit-limit-${name}`, String(state.limit));
    headers.set(`x-ratelimit-remaining-${name}`, String(state.remaining));
    headers.set(`x-ratelimit-reset-${name}`, `${(state.resetMs / 1000).toFixed(3)}s`);
  }
}

function ignoredHeader(headers: Headers, fields: readonly string[]): void {
  // Names come from the client: only what may stand in a header, and not without end.
  const names = fields.filter((field) => /^[\w.-]{1,64}$/.test(field)).slice(0, 20);
  if (names.length > 0) headers.set("x-causeway-ignored", names.join(", "));
}
