/** API keys of an account. The key's text is in one answer and nowhere else: what is kept is a hash. */
import type { Context } from "hono";
import type { AppEnv } from "../app.ts";
import type { KeyId } from "../ids.ts";
import { keyChangeBody, newKeyBody, rotateBody } from "../keys/fields.ts";
import { keyView } from "../keys/view.ts";
import { type Asker, change, create, found, rotate } from "../keys/work.ts";
import { accountOf } from "./accounts.ts";
import { body, pathParam } from "./input.ts";

export async function createKey(c: Context<AppEnv>): Promise<Response> {
  const asker = await operator(c);
  return c.json(await create(asker, await body(c, newKeyBody)), 201);
}

export async function listKeys(c: Context<AppEnv>): Promise<Response> {
  const { object } = await accountOf(c);
  return c.json({ object: "list", data: (await object.listKeys()).map(keyView) });
}

export async function getKey(c: Context<AppEnv>): Promise<Response> {
  const { object } = await accountOf(c);
  return c.json(keyView(found(await object.key(idOf(c)))));
}

/** What is not named stays as it is; null takes a limit, a deadline or a budget away. */
export async function changeKey(c: Context<AppEnv>): Promise<Response> {
  const asker = await operator(c);
  return c.json(await change(asker, idOf(c), await body(c, keyChangeBody)));
}

export async function rotateKey(c: Context<AppEnv>): Promise<Response> {
  const asker = await operator(c);
  const { overlap_seconds } = await body(c, rotateBody);
  return c.json(await rotate(asker, idOf(c), overlap_seconds), 201);
}

/** In force with the account's next admission. What is running goes on. */
export async function revokeKey(c: Context<AppEnv>): Promise<Response> {
  const { object } = await accountOf(c);
  return c.json(keyView(found(await object.revokeKey(idOf(c)))));
}

const idOf = (c: Context<AppEnv>) => pathParam(c, "key") as KeyId;

async function operator(c: Context<AppEnv>): Promise<Asker> {
  const { row, object } = await accountOf(c);
  return { env: c.env, account: row.id, object, scopes: undefined };
}
