/**
 * The dashboard's session: a signed cookie that stands for an API key for twelve hours. It carries the account and
 * the SHA-256 that the account's object knows the key by, never the key; nothing is kept here, and each request asks
 * the object as a bearer's does, so a key that is revoked ends its sessions at once.
 *
 *   A.<account>.<hash>.<end, unix seconds>.<HMAC-SHA256>
 *
 * The letter names the edge's secret, as in API keys; the HMAC's own key is derived from that secret for this use
 * alone, so that no session is ever a key's tag.
 */
import type { Context } from "hono";
import { deleteCookie, getCookie, setCookie } from "hono/cookie";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { HOUR_MS, SECOND_MS } from "../clock.ts";
import type { Env } from "../env.ts";
import { type AccountId, isAccountId } from "../ids.ts";
import { hex, LETTERS, type PresentedKey, secretOf, signingLetter } from "./key.ts";

export const SESSION_MS = 12 * HOUR_MS;

export interface Session extends PresentedKey {
  readonly expiresAt: number;
}

/** What signing in sends. */
export const signIn = z.strictObject({ key: z.string().min(1).max(500) });

const LABEL = "causeway dashboard session, version 1";
const NAME = "causeway_session";
const pattern = /^([A-Z])\.(acct_\w{26,32})\.([0-9a-f]{64})\.(\d{10})\.([0-9a-f]{64})$/;
const encoder = new TextEncoder();

/** The cookie's value for a key that the account's object has just known. */
export async function makeSession(env: Env, key: PresentedKey, now: number): Promise<string> {
  const letter = signingLetter(env);
  if (!letter) throw new Error("no KEY_SECRET_A of 16 characters or more is set: sessions cannot be made");
  const end = Math.floor((now + SESSION_MS) / SECOND_MS);
  const body = `${letter}.${key.account}.${key.hash}.${end}`;
  const signature = await crypto.subtle.sign(
    "HMAC",
    await keyOf(secretOf(env, letter)!),
    encoder.encode(body),
  );
  return `${body}.${hex(new Uint8Array(signature))}`;
}

/** Whom a cookie stands for; undefined when it is not ours, was changed, or has ended. */
export async function readSession(env: Env, text: string, now: number): Promise<Session | undefined> {
  const [, letter, account, hash, end, signature] = pattern.exec(text) ?? [];
  const known = LETTERS.find((candidate) => candidate === letter);
  const secret = known && secretOf(env, known);
  if (!secret || !isAccountId(account!)) return undefined;
  const body = encoder.encode(text.slice(0, text.lastIndexOf(".")));
  const bytes = Uint8Array.from(signature!.match(/../g)!, (pair) => Number.parseInt(pair, 16));
  if (!(await crypto.subtle.verify("HMAC", await keyOf(secret), bytes, body))) return undefined;
  const expiresAt = Number(end) * SECOND_MS;
  return now < expiresAt ? { account: account as AccountId, hash: hash!, expiresAt } : undefined;
}

/** Deriving costs more than using: one an isolate. */
const derived = new Map<string, Promise<CryptoKey>>();

function keyOf(secret: string): Promise<CryptoKey> {
  let key = derived.get(secret);
  if (!key) {
    key = derive(secret);
    derived.set(secret, key);
  }
  return key;
}

async function derive(secret: string): Promise<CryptoKey> {
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const root = await crypto.subtle.importKey("raw", encoder.encode(secret), hmac, false, ["sign"]);
  const bytes = await crypto.subtle.sign("HMAC", root, encoder.encode(LABEL));
  return crypto.subtle.importKey("raw", bytes, hmac, false, ["sign", "verify"]);
}

// The cookie. On https its name binds it to the host and to TLS; a local run has neither.

const isSecure = (c: Context<AppEnv>): boolean => new URL(c.req.url).protocol === "https:";

export const sessionCookie = (c: Context<AppEnv>): string | undefined =>
  isSecure(c) ? getCookie(c, NAME, "host") : getCookie(c, NAME);

export function giveSession(c: Context<AppEnv>, value: string): void {
  const options = { path: "/", httpOnly: true, sameSite: "Strict", maxAge: SESSION_MS / SECOND_MS } as const;
  setCookie(c, NAME, value, isSecure(c) ? { ...options, prefix: "host", secure: true } : options);
}

export function endSession(c: Context<AppEnv>): void {
  deleteCookie(c, NAME, isSecure(c) ? { path: "/", prefix: "host", secure: true } : { path: "/" });
}

/** Whether a page of this very origin sent it: what a cookie's bearer must prove where something is changed. */
export function isSameOrigin(request: Request): boolean {
  const { headers } = request;
  return (
    headers.get("sec-fetch-site") === "same-origin" || headers.get("origin") === new URL(request.url).origin
  );
}

/** Whether a browser says that another site's page sent it. Programs say nothing. */
export function isCrossSite(request: Request): boolean {
  const site = request.headers.get("sec-fetch-site");
  const isForeign = site !== null && site !== "none";
  return (isForeign || request.headers.has("origin")) && !isSameOrigin(request);
}
