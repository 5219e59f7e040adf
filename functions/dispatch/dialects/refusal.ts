/** What it means when a backend does not serve: by its status, and by its words where the status does not tell. */
import type { Dialect, Meaning } from "./dialect.ts";

/** Seconds that a client may be told to wait; clients ignore more than 60. */
const MAX_RETRY_AFTER = 60;
const RETRY_AFTER = 2;

export function meaningOf(dialect: Dialect, status: number, text: string): Meaning {
  const rule = dialect.refusals.find(
    (candidate) => candidate.status === status && (candidate.says?.test(text) ?? true),
  );
  return rule?.means ?? "failed";
}

/** Whether the body of such an answer has to be read at all. */
export function saysMore(dialect: Dialect, status: number): boolean {
  return dialect.refusals.some((rule) => rule.status === status && rule.says !== undefined);
}

/** `Retry-After` in whole seconds, 1 to 60: a number or a date; 2 where it is absent or absurd. */
export function retryAfterSeconds(header: string | null, nowMs: number): number {
  if (header === null || header.trim() === "") return RETRY_AFTER;
  const seconds = /^[\d.]+$/.test(header.trim()) ? Number(header) : (Date.parse(header) - nowMs) / 1_000;
  return seconds > 0 ? Math.min(MAX_RETRY_AFTER, Math.ceil(seconds)) : RETRY_AFTER;
}
