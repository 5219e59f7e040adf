/** What a key may do. A route says which scope it needs; the account's object says which ones the key has. */
import { createMiddleware } from "hono/factory";
import type { AppEnv } from "../app.ts";
import { missingScope, Refusal } from "../errors.ts";
import type { KeyId } from "../ids.ts";

/**
 * `inference`: completions, models, one's own generation. `usage`: reading usage, requests, regions, balance and
 * journal. `manage`: keys, budgets, webhooks, alerts, checkout.
 */
export const SCOPES = ["inference", "usage", "manage"] as const;
export type Scope = (typeof SCOPES)[number];

/** The scopes of a key's row; a row that says nothing may do all. */
export const scopesOf = (row: { readonly id: KeyId; readonly scopes?: readonly Scope[] | null }) =>
  row.scopes ?? SCOPES;

/** Refuses (403) a key without the scope. Stands after `identified`, which knows the key. */
export const requires = (scope: Scope) =>
  createMiddleware<AppEnv>(async (c, next) => {
    if (!c.get("scopes").includes(scope)) throw new Refusal(missingScope(scope));
    await next();
  });
