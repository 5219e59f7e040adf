/**
 * API keys: `cw_<environment>_<account>_<secret>_<tag>`. The account is its id without the prefix and without
 * underscores (`eu` and the ULID, or the ULID alone). The tag is a letter, which names one of the edge's secrets,
 * and a truncated HMAC under it: a forged key is refused here and never wakes an account's object. The object
 * knows the SHA-256 of the secret part alone.
 */
import { type Env, settings } from "../env.ts";
import { type AccountId, isAccountId } from "../ids.ts";

export interface PresentedKey {
  readonly account: AccountId;
  /** SHA-256 of the secret part, hex: what the account's object knows. */
  readonly hash: string;
}

const SECRET_BYTES = 20;
const TAG_BYTES = 10;
const MIN_SECRET = 16;
export const LETTERS = ["A", "B"] as const;
export type Letter = (typeof LETTERS)[number];

const pattern = /^(cw_[a-z]{2,10}_((?:eu)?)([0-9A-HJKMNP-TV-Z]{26})_([0-9a-f]{40}))_([A-Z])([0-9a-f]{20})$/;

/** A new key for an account: the text to show once, and what the object keeps. */
export async function makeKey(
  env: Env,
  account: AccountId,
): Promise<{ key: string; hash: string; hint: string }> {
  const letter = signingLetter(env);
  if (!letter) throw new Error("no KEY_SECRET_A of 16 characters or more is set: keys cannot be made");
  const secret = hex(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)));
  const body = `cw_${settings(env).environment}_${account.slice("acct_".length).replace("_", "")}_${secret}`;
  return {
    key: `${body}_${letter}${await tagOf(env, letter, body)}`,
    hash: await sha256(secret),
    hint: secret.slice(-4),
  };
}

/** The account and hash of a well-formed key with a true tag; undefined for anything else. */
export async function readKey(env: Env, text: string): Promise<PresentedKey | undefined> {
  const match = pattern.exec(text);
  if (!match) return undefined;
  const [, body, jurisdiction, ulid, secret, letter, tag] = match as unknown as string[];
  const account = jurisdiction ? `acct_${jurisdiction}_${ulid}` : `acct_${ulid}`;
  if (!isAccountId(account) || !LETTERS.includes(letter as Letter)) return undefined;
  const expected = await tagOf(env, letter as Letter, body!);
  if (expected === undefined || !sameText(expected, tag!)) return undefined;
  return { account, hash: await sha256(secret!) };
}

/** Compares without telling by its time where two texts differ; lengths may be told. */
export function sameText(a: string, b: string): boolean {
  const encoder = new TextEncoder();
  const [left, right] = [encoder.encode(a), encoder.encode(b)];
  return left.length === right.length && crypto.subtle.timingSafeEqual(left, right);
}

export async function sha256(text: string): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))));
}

/** The secret that a letter names. A short one could be guessed from one key: it counts as none. */
export function secretOf(env: Env, letter: Letter): string | undefined {
  const secret = env[`KEY_SECRET_${letter}`];
  return secret && secret.length >= MIN_SECRET ? secret : undefined;
}

/** The letter of the secret that signs what is new. */
export const signingLetter = (env: Env): Letter | undefined =>
  LETTERS.findLast((letter) => secretOf(env, letter) !== undefined);

/** Importing a key costs more than using it: one an isolate. */
const imported = new Map<string, Promise<CryptoKey>>();

async function tagOf(env: Env, letter: Letter, body: string): Promise<string | undefined> {
  const secret = secretOf(env, letter);
  if (!secret) return undefined;
  let key = imported.get(secret);
  if (!key) {
    const bytes = new TextEncoder().encode(secret);
    key = crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    imported.set(secret, key);
  }
  const signature = await crypto.subtle.sign("HMAC", await key, new TextEncoder().encode(body));
  return hex(new Uint8Array(signature).subarray(0, TAG_BYTES));
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export function hex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += HEX[byte];
  return text;
}
