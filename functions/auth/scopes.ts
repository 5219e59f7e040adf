/**
 * What a key may do. Each route names its scope in the route table (app.ts), and nowhere else; a test walks it.
 * The account's object says which scopes a key has.
 */
import { createMiddleware } from "hono/factory";
import type { AppEnv } from "../app.ts";
import { missingScope, Refusal } from "../errors.ts";

/** `inference`: completions, models, one's own generation. `usage`: reading. `manage`: keys, budgets, webhooks. */
export const SCOPES = ["inference", "usage", "manage"] as const;
export type Scope = (typeof SCOPES)[number];

/** What a key has when nobody says; also keys that were made before there were scopes. */
export const DEFAULT_SCOPES: readonly Scope[] = ["inference", "usage"];

/** Lets the route's request pass when its key has the scope. Comes after `identified`. */
export function requires(scope: Scope) {
  const middleware = createMiddleware<AppEnv>(async (c, next) => {
    if (!c.get("scopes").includes(scope)) throw new Refusal(missingScope(scope));
    await next();
  });
  return Object.assign(middleware, { scope });
}

/** Names the scope that the account's object checks as it admits: the route itself asks it nothing before. */
export function admittedWith(scope: Scope) {
  const middleware = createMiddleware<AppEnv>((_c, next) => next());
  return Object.assign(middleware, { scope });
}

/** The first of the wanted scopes that is not among the given ones. */
export const lacking = (given: readonly Scope[], wanted: readonly Scope[]): Scope | undefined =>
  wanted.find((scope) => !given.includes(scope));
