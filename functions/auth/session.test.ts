/** The dashboard's session, over HTTP: a cookie that is worth as much as its key, for as long as the key is. */
import { exports } from "cloudflare:workers";
import { beforeEach, describe, expect, it } from "vitest";
import { env, openAccount, type TestAccount } from "../../test/support/worker.ts";
import type { Env } from "../env.ts";
import { newAccountId } from "../ids.ts";
import { makeSession, readSession, SESSION_MS } from "./session.ts";

const worker = (exports as unknown as { default: Fetcher }).default;
const HTTPS = "https://edge.test";

let account: TestAccount;
beforeEach(async () => {
  account = await openAccount();
});

const send = (
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body?: unknown,
  base = HTTPS,
) =>
  worker.fetch(base + path, {
    method,
    headers,
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });

/** Signs in; the cookie as a browser sends it back. */
async function signIn(key = account.key, base = HTTPS): Promise<string> {
  const response = await send("POST", "/dashboard/session", {}, { key }, base);
  expect(response.status).toBe(204);
  return response.headers.get("set-cookie")!.split(";")[0]!;
}

const codeOf = async (response: Response) =>
  `${response.status} ${((await response.json()) as { error: { code: string } }).error.code}`;

describe("the session", () => {
  it("begins with a key, in a cookie that scripts and other sites cannot use", async () => {
    const response = await send("POST", "/dashboard/session", {}, { key: account.key });
    expect(response.status).toBe(204);
    const cookie = response.headers.get("set-cookie")!;
    expect(cookie).toMatch(
      /^__Host-causeway_session=A\.acct_\w+\.[0-9a-f]{64}\.\d{10}\.[0-9a-f]{64}; Max-Age=43200; Path=\/; HttpOnly; Secure; SameSite=Strict$/,
    );
    expect(cookie).not.toContain(account.key.split("_")[3]);
  });

  it("has a plain name where there is no TLS", async () => {
    const response = await send("POST", "/dashboard/session", {}, { key: account.key }, "http://edge.test");
    const cookie = response.headers.get("set-cookie")!;
    expect(cookie).toMatch(/^causeway_session=/);
    expect(cookie).not.toContain("Secure");
    const value = cookie.split(";")[0]!;
    expect((await send("GET", "/v1/balance", { cookie: value }, undefined, "http://edge.test")).status).toBe(
      200,
    );
    // It is not taken for the one that is bound to the host.
    expect((await send("GET", "/v1/balance", { cookie: value })).status).toBe(401);
  });

  it("says whose it is", async () => {
    const cookie = await signIn();
    const response = await send("GET", "/dashboard/session", { cookie });
    expect(response.status).toBe(200);
    expect(response.headers.get("cache-control")).toBe("no-store");
    const body = (await response.json()) as any;
    expect(body).toEqual({
      account: { id: account.id, name: "test" },
      key: {
        id: account.keyId,
        name: "test",
        hint: expect.stringMatching(/^[0-9a-f]{4}$/),
        scopes: expect.arrayContaining(["inference", "usage"]),
      },
      environment: "live",
      simulated: expect.any(Boolean),
      fleet_view: "own",
      expires_at: expect.any(String),
    });
    expect(Date.parse(body.expires_at) - Date.now()).toBeGreaterThan(SESSION_MS - 60_000);
  });

  it("is refused for a bad key, and for what is no key", async () => {
    const forged = `${account.key.slice(0, -1)}${account.key.endsWith("0") ? "1" : "0"}`;
    for (const key of [forged, "cw_live_x", "x"])
      expect(await codeOf(await send("POST", "/dashboard/session", {}, { key }))).toBe("401 invalid_api_key");
    for (const body of [{}, { key: "" }, { key: 1 }, { key: account.key, extra: 1 }, "{", []])
      expect((await send("POST", "/dashboard/session", {}, body)).status).toBe(400);
    expect((await send("POST", "/dashboard/session", {}, { key: "x".repeat(10_000) })).status).toBe(413);
  });

  it("reads with the cookie alone, and is no good for completions", async () => {
    const cookie = await signIn();
    expect((await send("GET", "/v1/balance", { cookie })).status).toBe(200);
    const post = { cookie, "sec-fetch-site": "same-origin" };
    expect(await codeOf(await send("POST", "/v1/chat/completions", post, {}))).toBe("401 invalid_api_key");
  });

  it("is refused beside a key, whichever way that came, and whatever either is worth", async () => {
    const cookie = await signIn();
    for (const more of [
      { authorization: `Bearer ${account.key}` },
      { "x-api-key": account.key },
      { authorization: "Bearer nonsense" },
    ] as Record<string, string>[])
      expect(await codeOf(await send("GET", "/v1/balance", { cookie, ...more }))).toBe(
        "400 conflicting_credentials",
      );
  });

  it("changes nothing for another site's page", async () => {
    const cookie = await signIn();
    const change = (headers: Record<string, string>) =>
      send("POST", "/v1/keys", { cookie, ...headers }, {}).then(
        async (response) => ((await response.json()) as { error: { code: string } }).error.code,
      );
    for (const headers of [
      {},
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
      { "sec-fetch-site": "none" },
      { origin: "https://evil.test" },
      { origin: "null" },
      { origin: "http://edge.test" },
    ] as Record<string, string>[])
      expect({ headers, code: await change(headers) }).toEqual({ headers, code: "cross_site_request" });
    // What is let through meets the next check: this key may not make keys.
    for (const headers of [{ "sec-fetch-site": "same-origin" }, { origin: HTTPS }] as Record<
      string,
      string
    >[])
      expect({ headers, code: await change(headers) }).toEqual({ headers, code: "missing_scope" });
  });

  it("is neither begun nor ended by another site's page", async () => {
    const foreign = { "sec-fetch-site": "cross-site", origin: "https://evil.test" };
    expect(await codeOf(await send("POST", "/dashboard/session", foreign, { key: account.key }))).toBe(
      "403 cross_site_request",
    );
    const cookie = await signIn();
    expect((await send("DELETE", "/dashboard/session", { cookie, ...foreign })).status).toBe(403);
    expect((await send("DELETE", "/dashboard/session", { cookie })).status).toBe(403);
    const ended = await send("DELETE", "/dashboard/session", { cookie, "sec-fetch-site": "same-origin" });
    expect(ended.status).toBe(204);
    expect(ended.headers.get("set-cookie")).toMatch(/^__Host-causeway_session=; Max-Age=0; Path=\//);
    expect((await send("DELETE", "/dashboard/session")).status).toBe(204);
  });

  it("ends at once with its key", async () => {
    const cookie = await signIn();
    await account.object.revokeKey(account.keyId);
    for (const path of ["/v1/balance", "/v1/requests", "/dashboard/session"])
      expect(await codeOf(await send("GET", path, { cookie }))).toBe("401 invalid_session");
  });

  it("is nobody's without a cookie, and with one that was changed anywhere", async () => {
    expect((await send("GET", "/dashboard/session")).status).toBe(401);
    const cookie = await signIn();
    const start = cookie.indexOf("=") + 1;
    const other = await openAccount();
    const forged = [
      cookie.replace(account.id, other.id),
      cookie.replace(account.keyHash, other.keyHash),
      cookie.replace(/\.(\d{10})\./, (_, end) => `.${Number(end) + 1}.`),
      `${cookie.slice(0, start)}B${cookie.slice(start + 1)}`,
      `${cookie.slice(0, start)}C${cookie.slice(start + 1)}`,
      cookie.slice(0, -1),
      `${cookie}0`,
      `${cookie.slice(0, start)}nonsense`,
      cookie.slice(0, start),
    ];
    for (const changed of forged)
      expect({ changed, status: (await send("GET", "/v1/balance", { cookie: changed })).status }).toEqual({
        changed,
        status: 401,
      });
  });
});

describe("a session's value", () => {
  const key = () => ({ account: account.id, hash: account.keyHash });

  it("is good for twelve hours", async () => {
    const now = Date.now();
    const value = await makeSession(env, key(), now);
    expect(await readSession(env, value, now + SESSION_MS - 2_000)).toMatchObject(key());
    expect(await readSession(env, value, now + SESSION_MS)).toBeUndefined();
  });

  it("is of no use under another secret, nor where the secret is short or gone", async () => {
    const now = Date.now();
    const value = await makeSession(env, key(), now);
    const under = (secrets: Partial<Env>) =>
      readSession({ ...env, KEY_SECRET_A: undefined, ...secrets } as Env, value, now);
    expect(await under({ KEY_SECRET_A: "another secret of enough length" })).toBeUndefined();
    expect(await under({ KEY_SECRET_A: "short" })).toBeUndefined();
    expect(await under({})).toBeUndefined();
    expect(await under({ KEY_SECRET_A: env.KEY_SECRET_A!, KEY_SECRET_B: "b".repeat(32) })).toBeDefined();
  });

  it("is signed by the newest secret, and stays good while the older one is set", async () => {
    const both = { ...env, KEY_SECRET_B: "b".repeat(32) } as Env;
    const value = await makeSession(both, key(), Date.now());
    expect(value).toMatch(/^B\./);
    expect(await readSession(both, value, Date.now())).toBeDefined();
    expect(await readSession(env, value, Date.now())).toBeUndefined();
  });

  it("is of an account of any kind of id", async () => {
    const eu = { account: newAccountId("eu"), hash: account.keyHash };
    expect(await readSession(env, await makeSession(env, eu, Date.now()), Date.now())).toMatchObject(eu);
  });
});
