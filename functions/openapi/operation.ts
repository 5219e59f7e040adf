/**
 * What the OpenAPI document says of a route, written in the route table as one of its handlers:
 * `app.get("/v1/keys", describes({...}), identified, requires("manage"), listKeys)`. Path, parameters of the path,
 * scope and credential are read from the same line (document.ts); bodies and queries are the schemas that validate.
 */
import { createMiddleware } from "hono/factory";
import type { z } from "zod";
import type { AppEnv } from "../app.ts";

/** In the order of the page. */
export const TAGS = [
  "Inference",
  "Usage",
  "Keys and budgets",
  "Billing",
  "Webhooks",
  "Dashboard",
  "Operator",
  "Service",
] as const;
export type Tag = (typeof TAGS)[number];

export interface Operation {
  readonly tag: Tag;
  /** A few words; the page's heading. */
  readonly summary: string;
  readonly description?: string;
  /** The schemas that the handler parses with. */
  readonly query?: z.ZodType;
  readonly body?: z.ZodType;
  /** The body may be left out. */
  readonly bodyOptional?: true;
  /** The answer: its JSON, or undefined where it has none. */
  readonly answer?: z.ZodType;
  /** Media type of an answer that is no JSON. */
  readonly media?: string;
  readonly status?: 200 | 201 | 202 | 204;
  /** The same as a stream of events: what one of them is. */
  readonly events?: z.ZodType;
  /** Codes of errors beyond those that every route of its kind has. */
  readonly errors?: Readonly<Record<number, string>>;
  readonly idempotent?: true;
  /** Answers carry the headers of limits and placement. */
  readonly limited?: true;
  readonly examples?: { readonly body?: unknown; readonly answer?: unknown };
}

/** Lets everything pass: it is there to be read. */
export function describes(operation: Operation) {
  const middleware = createMiddleware<AppEnv>((_c, next) => next());
  return Object.assign(middleware, { operation });
}
