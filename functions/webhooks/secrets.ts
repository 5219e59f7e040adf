/**
 * Secrets of endpoints, at rest: AES-GCM under a key derived from one of the edge's own secrets (KEY_SECRET_A or _B,
 * named by the first character, as on API keys) with a label of its own, bound to the endpoint's id. A copy of D1
 * alone signs nothing.
 */
import type { Env } from "../env.ts";
import type { EndpointId } from "../ids.ts";

const LETTERS = ["A", "B"] as const;
type Letter = (typeof LETTERS)[number];

const MIN_SECRET = 16;
const SECRET_BYTES = 32;
const IV_BYTES = 12;
const LABEL = "causeway webhook secrets 1";

const text = new TextEncoder();

/** As Standard Webhooks writes them: `whsec_` and base64. */
export const newSecret = (): string =>
  `whsec_${toBase64(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)))}`;

export async function seal(env: Env, endpoint: EndpointId, secret: string): Promise<string> {
  const letter = LETTERS.findLast((candidate) => (env[`KEY_SECRET_${candidate}`]?.length ?? 0) >= MIN_SECRET);
  const key = letter && (await keyOf(env, letter));
  if (!key) throw new Error("no KEY_SECRET_A of 16 characters or more is set: secrets cannot be kept");
  const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES));
  const algorithm = { name: "AES-GCM", iv, additionalData: text.encode(endpoint) };
  const sealed = await crypto.subtle.encrypt(algorithm, key, text.encode(secret));
  return `${letter}.${toBase64(iv)}.${toBase64(new Uint8Array(sealed))}`;
}

/** Undefined when it is not of this endpoint, or its edge secret is no more. */
export async function unseal(env: Env, endpoint: EndpointId, sealed: string): Promise<string | undefined> {
  const [letter, iv, cipher] = sealed.split(".");
  const key = LETTERS.includes(letter as Letter) && (await keyOf(env, letter as Letter));
  if (!key || iv === undefined || cipher === undefined) return undefined;
  try {
    const algorithm = { name: "AES-GCM", iv: fromBase64(iv), additionalData: text.encode(endpoint) };
    return new TextDecoder().decode(await crypto.subtle.decrypt(algorithm, key, fromBase64(cipher)));
  } catch {
    return undefined;
  }
}

async function keyOf(env: Env, letter: Letter): Promise<CryptoKey | undefined> {
  const secret = env[`KEY_SECRET_${letter}`];
  if (!secret || secret.length < MIN_SECRET) return undefined;
  const raw = await crypto.subtle.importKey("raw", text.encode(secret), "HKDF", false, ["deriveKey"]);
  const derivation = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: text.encode(LABEL) };
  return crypto.subtle.deriveKey(derivation, raw, { name: "AES-GCM", length: 256 }, false, [
    "encrypt",
    "decrypt",
  ]);
}

const toBase64 = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes));
const fromBase64 = (base64: string): Uint8Array =>
  Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
