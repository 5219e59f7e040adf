/** Who asks: the credential of a request, and the middleware that check it. */
import { createMiddleware } from "hono/factory";
import type { AppEnv } from "../app.ts";
import { badKey, invalid, notAvailable, Refusal } from "../errors.ts";
import { accountObject } from "./accounts.ts";
import { readKey, sameText } from "./key.ts";

/** The one credential that a request carries. Two that differ are refused: which of them should count? */
export function credential(headers: Headers): string | undefined {
  const bearer = /^Bearer\s+(\S+)\s*$/i.exec(headers.get("authorization") ?? "")?.[1];
  const header = headers.get("x-api-key")?.trim() || undefined;
  if (headers.has("authorization") && !bearer)
    throw new Refusal(badKey("The Authorization header must be `Bearer KEY`."));
  if (bearer && header && bearer !== header) {
    throw new Refusal(
      invalid(
        "Authorization and x-api-key carry different keys. Send one.",
        undefined,
        "conflicting_credentials",
      ),
    );
  }
  return bearer ?? header;
}

/** Checks the form and the tag of the API key; the account's object has the last word. */
export const presentsKey = createMiddleware<AppEnv>(async (c, next) => {
  const text = credential(c.req.raw.headers);
  const key = text === undefined ? undefined : await readKey(c.env, text);
  if (!key)
    throw new Refusal(
      text === undefined ? badKey("An API key is needed: `Authorization: Bearer cw_...`.") : badKey(),
    );
  c.set("presented", key);
  await next();
});

/** For requests that cost nothing: the account's object says who the key is. */
export const identified = createMiddleware<AppEnv>(async (c, next) => {
  const { account, hash } = c.get("presented");
  const who = await accountObject(c.env, account).identify(hash);
  if (!who) throw new Refusal(badKey());
  c.set("account", who.account);
  c.set("key", who.key);
  c.set("scopes", who.scopes);
  await next();
});

/** The operator's own credential. Where none is configured there is no admin API. */
export const isAdmin = createMiddleware<AppEnv>(async (c, next) => {
  const expected = c.env.ADMIN_KEY;
  if (!expected || expected.length < 24)
    throw new Refusal(notAvailable("ADMIN_KEY is not set (24 characters or more): there is no admin API."));
  const given = credential(c.req.raw.headers);
  if (given === undefined || !sameText(given, expected))
    throw new Refusal(badKey("The admin API needs its own credential."));
  await next();
});
