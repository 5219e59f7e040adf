/** API keys of an account. The key's text is in one answer and nowhere else: what is kept is a hash. */
import type { Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { makeKey } from "../auth/key.ts";
import { Refusal } from "../errors.ts";
import { type KeyId, newKeyId } from "../ids.ts";
import type { KeyView } from "../objects/account.ts";
import { accountOf } from "./accounts.ts";
import { body, name, pathParam, residency } from "./input.ts";

/** A limit a minute; null: none. */
const limit = z.int().min(1).max(1_000_000_000).nullable();

const keyBody = z.strictObject({
  name,
  requests_per_minute: limit.optional(),
  tokens_per_minute: limit.optional(),
  residency: residency.nullish(),
});
const limitsBody = z
  .strictObject({ requests_per_minute: limit.optional(), tokens_per_minute: limit.optional() })
  .refine((limits) => Object.keys(limits).length > 0, {
    error: "Send requests_per_minute, tokens_per_minute or both.",
  });

export async function createKey(c: Context<AppEnv>): Promise<Response> {
  const { row, object } = await accountOf(c);
  const given = await body(c, keyBody);
  const { key, hash, hint } = await makeKey(c.env, row.id);
  const made = await object.createKey({
    id: newKeyId(),
    name: given.name,
    hash,
    hint,
    requestsPerMinute: given.requests_per_minute ?? null,
    tokensPerMinute: given.tokens_per_minute ?? null,
    residency: given.residency ?? null,
  });
  return c.json({ ...keyView(made), key }, 201);
}

export async function listKeys(c: Context<AppEnv>): Promise<Response> {
  const { object } = await accountOf(c);
  return c.json({ object: "list", data: (await object.listKeys()).map(keyView) });
}

/** A limit that is not named stays as it is; null takes it away. */
export async function changeKey(c: Context<AppEnv>): Promise<Response> {
  const { object } = await accountOf(c);
  const { requests_per_minute, tokens_per_minute } = await body(c, limitsBody);
  const changed = await object.setKeyLimits(pathParam(c, "key") as KeyId, {
    ...(requests_per_minute !== undefined && { requestsPerMinute: requests_per_minute }),
    ...(tokens_per_minute !== undefined && { tokensPerMinute: tokens_per_minute }),
  });
  if ("status" in changed) throw new Refusal(changed);
  return c.json(keyView(changed));
}

/** In force with the account's next admission. What is running goes on. */
export async function revokeKey(c: Context<AppEnv>): Promise<Response> {
  const { object } = await accountOf(c);
  const revoked = await object.revokeKey(pathParam(c, "key") as KeyId);
  if ("status" in revoked) throw new Refusal(revoked);
  return c.json(keyView(revoked));
}

const keyView = (row: KeyView) => ({
  id: row.id,
  name: row.name,
  hint: row.hint,
  created_at: new Date(row.createdAt).toISOString(),
  revoked_at: row.revokedAt === null ? null : new Date(row.revokedAt).toISOString(),
  requests_per_minute: row.requestsPerMinute,
  tokens_per_minute: row.tokensPerMinute,
  residency: row.residency,
});
