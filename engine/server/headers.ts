/** The attempt's headers, read and checked. What each means is in README.md. */
import { randomBytes } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { invalidValue } from "./error.ts";

export interface AttemptHeaders {
  readonly attemptId: string;
  /** The edge writes the end of the stream itself. */
  readonly edgeTail: boolean;
  readonly answerId: string | undefined;
  readonly answerModel: string | undefined;
  /** Unix seconds. */
  readonly answerCreated: number | undefined;
  readonly cacheSalt: string;
  readonly deadlineMs: number | undefined;
}

export const maxDeadlineMs = 3_600_000;
const attemptIdPattern = /^[A-Za-z0-9_.-]{1,100}$/;
const noSpaces = /^[\x21-\x7e]{1,200}$/;
const printable = /^[\x20-\x7e]{1,200}$/;

export function isAttemptId(text: string): boolean {
  return attemptIdPattern.test(text);
}

/** Errors: ApiError 400 that names the header. */
export function readAttemptHeaders(headers: IncomingHttpHeaders): AttemptHeaders {
  const tail = one(headers, "x-causeway-tail", /^edge$/, 'must be "edge"');
  return {
    attemptId:
      one(headers, "x-causeway-attempt-id", attemptIdPattern, "must be 1 to 100 of A-Z a-z 0-9 _ . -") ??
      `req_${randomBytes(12).toString("hex")}`,
    edgeTail: tail !== undefined,
    answerId: one(headers, "x-causeway-answer-id", noSpaces, "must be 1 to 200 printable characters"),
    answerModel: one(headers, "x-causeway-answer-model", printable, "must be 1 to 200 printable characters"),
    answerCreated: count(headers, "x-causeway-answer-created", 0, 253_402_300_799),
    cacheSalt:
      one(headers, "x-causeway-cache-salt", printable, "must be 1 to 200 printable characters") ?? "",
    deadlineMs: count(headers, "x-causeway-deadline-ms", 1, maxDeadlineMs),
  };
}

function one(headers: IncomingHttpHeaders, name: string, pattern: RegExp, must: string): string | undefined {
  const value = headers[name];
  if (value === undefined) return undefined;
  if (typeof value !== "string" || !pattern.test(value)) throw invalidValue(name, `${name} ${must}.`);
  return value;
}

function count(headers: IncomingHttpHeaders, name: string, least: number, most: number): number | undefined {
  const must = `must be a whole number from ${least} to ${most}`;
  const text = one(headers, name, /^[0-9]{1,15}$/, must);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (value < least || value > most) throw invalidValue(name, `${name} ${must}.`);
  return value;
}
