/** An account's own keys and budgets, for keys with the scope `manage`. */
import type { Context } from "hono";
import { body, pathParam } from "../admin/input.ts";
import { onceOf } from "../admission/idempotency.ts";
import type { AppEnv } from "../app.ts";
import { accountObject } from "../auth/accounts.ts";
import type { KeyId } from "../ids.ts";
import { budgetsBody, keyChangeBody, limitsOf, newKeyBody, rotateBody } from "./fields.ts";
import { budgetsView, keyView } from "./view.ts";
import { type Asker, change, create, found, rotate } from "./work.ts";

export async function listKeys(c: Context<AppEnv>): Promise<Response> {
  return c.json({ object: "list", data: (await objectOf(c).listKeys()).map(keyView) });
}

export async function createKey(c: Context<AppEnv>): Promise<Response> {
  const given = await body(c, newKeyBody);
  const once = await onceOf(c, given);
  return c.json(await create(askerOf(c), given, once), 201);
}

export async function getKey(c: Context<AppEnv>): Promise<Response> {
  return c.json(keyView(found(await objectOf(c).key(idOf(c)))));
}

export async function changeKey(c: Context<AppEnv>): Promise<Response> {
  return c.json(await change(askerOf(c), idOf(c), await body(c, keyChangeBody)));
}

export async function rotateKey(c: Context<AppEnv>): Promise<Response> {
  const { overlap_seconds } = await body(c, rotateBody);
  return c.json(await rotate(askerOf(c), idOf(c), overlap_seconds), 201);
}

/** In force with the account's next admission. What is running goes on. */
export async function revokeKey(c: Context<AppEnv>): Promise<Response> {
  return c.json(keyView(found(await objectOf(c).revokeKey(idOf(c)))));
}

export async function getBudgets(c: Context<AppEnv>): Promise<Response> {
  return c.json(budgetsView(await objectOf(c).budgets()));
}

export async function putBudgets(c: Context<AppEnv>): Promise<Response> {
  const given = await body(c, budgetsBody.required());
  return c.json(budgetsView(await objectOf(c).setBudgets(limitsOf(given))));
}

const objectOf = (c: Context<AppEnv>) => accountObject(c.env, c.get("account"));
const idOf = (c: Context<AppEnv>) => pathParam(c, "id") as KeyId;
const askerOf = (c: Context<AppEnv>): Asker => ({
  env: c.env,
  account: c.get("account"),
  object: objectOf(c),
  scopes: c.get("scopes"),
});
