/** Who asks: the credential of a request, and the middleware that check it. */
import { createMiddleware } from "hono/factory";
import type { AppEnv } from "../app.ts";
import { badKey, badSession, crossSite, invalid, notAvailable, Refusal } from "../errors.ts";
import { accountObject } from "./accounts.ts";
import { readKey, sameText } from "./key.ts";
import { isSameOrigin, readSession, sessionCookie } from "./session.ts";

/** The one credential that a request carries. Two that differ are refused: which of them should count? */
export function credential(headers: Headers): string | undefined {
  const bearer = /^Bearer\s+(\S+)\s*$/i.exec(headers.get("authorization") ?? "")?.[1];
  const header = headers.get("x-api-key")?.trim() || undefined;
  if (headers.has("authorization") && !bearer)
    throw new Refusal(badKey("The Authorization header must be `Bearer KEY`."));
  if (bearer && header && bearer !== header) {
    throw new Refusal(conflicting("Authorization and x-api-key carry different keys."));
  }
  return bearer ?? header;
}

/**
 * Checks the form and the signature of the API key, or of the dashboard's session that stands for one; the account's
 * object has the last word. Two carriers at once are refused, whatever they hold.
 */
export const presentsKey = createMiddleware<AppEnv>(async (c, next) => {
  const text = credential(c.req.raw.headers);
  const cookie = sessionCookie(c);
  if (cookie !== undefined) {
    if (text !== undefined)
      throw new Refusal(conflicting("A session's cookie and an API key came together."));
    const session = await readSession(c.env, cookie, Date.now());
    if (!session) throw new Refusal(badSession());
    if (!READS.includes(c.req.method) && !isSameOrigin(c.req.raw)) throw new Refusal(crossSite());
    c.set("presented", session);
    c.set("session", session);
    return next();
  }
  const key = text === undefined ? undefined : await readKey(c.env, text);
  if (!key)
    throw new Refusal(
      text === undefined ? badKey("An API key is needed: `Authorization: Bearer cw_...`.") : badKey(),
    );
  c.set("presented", key);
  return next();
});

const READS = ["GET", "HEAD"];

const conflicting = (message: string) =>
  invalid(`${message} Send one.`, undefined, "conflicting_credentials");

/** For what a session is not good for. */
export const notBySession = Object.assign(
  createMiddleware<AppEnv>(async (c, next) => {
    if (c.get("session"))
      throw new Refusal(
        badKey("A session is not good for this: send an API key, `Authorization: Bearer cw_...`."),
      );
    await next();
  }),
  { keysOnly: true as const },
);

/** For requests that cost nothing: the account's object says who the key is, and what it may do. */
export const identified = createMiddleware<AppEnv>(async (c, next) => {
  const { account, hash } = c.get("presented");
  const who = await accountObject(c.env, account).identify(hash);
  if (!who) throw new Refusal(c.get("session") ? badSession() : badKey());
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
