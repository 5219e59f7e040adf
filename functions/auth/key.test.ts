import { env as bound } from "cloudflare:workers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Env } from "../env.ts";
import { newAccountId } from "../ids.ts";
import { makeKey, readKey, sameText, sha256 } from "./key.ts";

const env = bound as unknown as Env;
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-. ";

describe("API keys", () => {
  it.each([undefined, "eu" as const])(
    "read back as the account and the secret's hash (jurisdiction %s)",
    async (jurisdiction) => {
      const account = newAccountId(jurisdiction);
      const { key, hash, hint } = await makeKey(env, account);
      expect(key).toMatch(/^cw_live_[0-9A-Zeu]+_[0-9a-f]{40}_A[0-9a-f]{20}$/);
      expect(await readKey(env, key)).toEqual({ account, hash });
      const secret = key.split("_")[3]!;
      expect(hash).toBe(await sha256(secret));
      expect(hint).toBe(secret.slice(-4));
    },
  );

  it("differ each time, in secret and in tag", async () => {
    const account = newAccountId();
    const keys = await Promise.all(Array.from({ length: 50 }, () => makeKey(env, account)));
    expect(new Set(keys.map(({ key }) => key.split("_")[3])).size).toBe(50);
    expect(new Set(keys.map(({ key }) => key.split("_")[4])).size).toBe(50);
  });

  it("are refused with any one character changed, left out, doubled or put in", async () => {
    const { key } = await makeKey(env, newAccountId("eu"));
    for (let at = 0; at < key.length; at++) {
      const [before, after] = [key.slice(0, at), key.slice(at + 1)];
      const others = [...ALPHABET].filter((char) => char !== key[at]);
      const changed = await Promise.all(others.map((char) => readKey(env, before + char + after)));
      expect(changed.filter(Boolean), `position ${at}`).toEqual([]);
      expect(await readKey(env, before + after)).toBeUndefined();
      expect(await readKey(env, before + key[at] + key[at] + after)).toBeUndefined();
    }
    for (const text of [
      `${key} `,
      ` ${key}`,
      `${key}\n`,
      `${key}0`,
      key.toUpperCase(),
      key.toLowerCase(),
      `Bearer ${key}`,
    ]) {
      expect(await readKey(env, text)).toBeUndefined();
    }
  });

  it("do not carry one account's tag to another account, or one secret's to another", async () => {
    const [mine, other] = await Promise.all([makeKey(env, newAccountId()), makeKey(env, newAccountId())]);
    const [a, b] = [mine.key.split("_"), other.key.split("_")];
    for (const part of [2, 3, 4])
      expect(await readKey(env, a.with(part, b[part]!).join("_"))).toBeUndefined();
  });

  it("are refused under another secret, and under a letter that no secret is set for", async () => {
    const { key } = await makeKey(env, newAccountId());
    expect(await readKey({ ...env, KEY_SECRET_A: `${env.KEY_SECRET_A}x` }, key)).toBeUndefined();
    expect(await readKey({ ...env, KEY_SECRET_A: "" }, key)).toBeUndefined();
    const at = key.lastIndexOf("_A") + 1;
    expect(await readKey(env, `${key.slice(0, at)}B${key.slice(at + 1)}`)).toBeUndefined();
    expect(await readKey(env, `${key.slice(0, at)}C${key.slice(at + 1)}`)).toBeUndefined();
  });

  it("outlive a change of secret: the new letter makes keys, the old one still reads its own", async () => {
    const account = newAccountId();
    const old = await makeKey(env, account);
    const both: Env = { ...env, KEY_SECRET_B: "another secret of thirty-two chars" };
    const fresh = await makeKey(both, account);
    expect(fresh.key).toMatch(/_B[0-9a-f]{20}$/);
    expect(await readKey(both, old.key)).toEqual({ account, hash: old.hash });
    expect(await readKey(both, fresh.key)).toEqual({ account, hash: fresh.hash });
    expect(await readKey(env, fresh.key)).toBeUndefined();
  });

  it("cannot be made where no secret is set", async () => {
    await expect(
      makeKey({ ...env, KEY_SECRET_A: undefined } as unknown as Env, newAccountId()),
    ).rejects.toThrow("KEY_SECRET_A");
  });

  it("are nothing that any other text could be", async () => {
    const texts = fc.oneof(
      fc.string(),
      fc.string({ unit: "binary" }),
      fc.stringMatching(/^cw_[a-z]{2,5}_[0-9A-Z]{26}_[0-9a-f]{40}_A[0-9a-f]{20}$/),
    );
    await fc.assert(
      fc.asyncProperty(texts, async (text) => {
        expect(await readKey(env, text)).toBeUndefined();
      }),
    );
  });
});

describe("sameText", () => {
  it("is equality", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.string({ unit: "grapheme" }), (a, b) => {
        expect(sameText(a, b)).toBe(a === b);
        expect(sameText(a, a)).toBe(true);
      }),
    );
  });
});
