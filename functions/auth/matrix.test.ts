/**
 * Every route x every credential x every way to carry one, from the app's own table of routes: a route that nobody
 * thought of here fails by being in none of the classes.
 */
import { exports } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import {
  addKey,
  admit,
  env,
  openAccount,
  projected,
  sellModel,
  settle,
  type TestAccount,
} from "../../test/support/worker.ts";
import { app } from "../app.ts";
import { answerId } from "../ids.ts";
import { SCOPES } from "./scopes.ts";
import { makeSession } from "./session.ts";

const worker = (exports as unknown as { default: Fetcher }).default;
const ORIGIN = "https://edge.test";

/** Answer anybody. */
const OPEN = ["/health", "/openapi.json", "/docs"];
/** Checks of their own, tested where they are: a key in the body, a signature over it. */
const OWN = ["/dashboard/session", "/webhooks/stripe"];

/** Where an empty body is refused before the id is looked at. */
const BODIES: Readonly<Record<string, string>> = {
  "PATCH /v1/keys/:id": '{"name":"theirs"}',
  "PATCH /v1/webhooks/:id": '{"description":"theirs"}',
};

interface Route {
  readonly method: string;
  readonly path: string;
}
const routes: Route[] = [
  ...new Map(
    app.routes
      .filter(({ method }) => method !== "ALL")
      .map(({ method, path }) => [`${method} ${path}`, { method, path }] as const),
  ).values(),
];
const under = (prefix: string) => routes.filter(({ path }) => path.startsWith(prefix));
const v1 = under("/v1/");
const isCompletion = ({ path }: Route) => path === "/v1/chat/completions";

/** The path with something for each of its parameters. */
const filled = ({ path }: Route, id = "nothing") => path.replace(/:\w+(\{[^}]*\})?/g, encodeURIComponent(id));

const send = ({ method, path }: Route, headers: Record<string, string>, at = filled({ method, path })) =>
  worker.fetch(ORIGIN + at, {
    method,
    headers,
    redirect: "manual",
    ...(method !== "GET" && method !== "DELETE" && { body: BODIES[`${method} ${path}`] ?? "{}" }),
  });

async function answer(route: Route, headers: Record<string, string>, at?: string) {
  const response = await send(route, headers, at);
  const text = await response.text();
  const code = text.startsWith("{")
    ? (JSON.parse(text) as { error?: { code?: string } }).error?.code
    : undefined;
  return { status: response.status, code };
}

let account: TestAccount;
let revoked: { key: string; keyHash: string };
beforeAll(async () => {
  account = await openAccount("1000", SCOPES);
  const more = await addKey(account.object, account.id);
  await account.object.revokeKey(more.keyId);
  revoked = more;
});

const cookieOf = async (keyHash: string) =>
  `__Host-causeway_session=${await makeSession(env, { account: account.id, hash: keyHash }, Date.now())}`;
const carriers = (key: string): Record<string, string>[] => [
  { authorization: `Bearer ${key}` },
  { "x-api-key": key },
  { authorization: `bearer ${key}`, "x-api-key": key },
];

it("knows every route", () => {
  expect(routes.length).toBeGreaterThan(25);
  const known = ({ path }: Route) =>
    path.startsWith("/v1/") || path.startsWith("/admin/") || [...OPEN, ...OWN].includes(path);
  expect(routes.filter((route) => !known(route))).toEqual([]);
});

describe("a route of the account's API", () => {
  it("lets nobody in without a good key, however it is carried", async () => {
    const forged = `${account.key.slice(0, -1)}${account.key.endsWith("0") ? "1" : "0"}`;
    const bad: Record<string, string>[] = [
      {},
      ...carriers(forged),
      ...carriers(revoked.key),
      ...carriers("cw_live_x"),
      ...carriers(env.ADMIN_KEY!),
      { authorization: account.key },
      { authorization: `Basic ${btoa(account.key)}` },
      { authorization: `Bearer ${account.key} x` },
      { cookie: `__Host-causeway_session=${account.key}` },
      { cookie: `causeway_session=${(await cookieOf(account.keyHash)).split("=")[1]}` },
      { cookie: await cookieOf(revoked.keyHash), "sec-fetch-site": "same-origin" },
      { cookie: `${await cookieOf(account.keyHash)}0`, "sec-fetch-site": "same-origin" },
    ];
    // A completion's key is checked by the admission, after its body.
    for (const route of v1)
      for (const headers of bad)
        if (!isCompletion(route) || !JSON.stringify(headers).includes(revoked.key))
          expect({ route, headers, ...(await answer(route, headers)) }).toMatchObject({
            route,
            headers,
            status: 401,
          });
  });

  it("takes no key from its address", async () => {
    for (const route of v1)
      expect(
        (await answer(route, {}, `${filled(route)}?key=${account.key}&api_key=${account.key}`)).status,
      ).toBe(401);
  });

  it("lets a good key in, however it is carried, and the session wherever it is good", async () => {
    const cookie = await cookieOf(account.keyHash);
    for (const route of v1) {
      for (const headers of carriers(account.key))
        expect([route, (await answer(route, headers)).status]).not.toEqual([route, 401]);
      const here = await answer(route, { cookie, "sec-fetch-site": "same-origin" });
      if (isCompletion(route)) expect(here.status).toBe(401);
      else expect([route, here.status]).not.toEqual([route, 401]);
    }
  });

  it("says of all that an account reads that no cache may keep it", async () => {
    const headers = { authorization: `Bearer ${account.key}` };
    for (const route of v1.filter(({ method }) => method === "GET")) {
      const response = await send(route, headers);
      await response.body?.cancel();
      expect([route, response.headers.get("cache-control")]).toEqual([route, "no-store"]);
    }
  });

  it("refuses two carriers at once, and a change by another site's page", async () => {
    const cookie = await cookieOf(account.keyHash);
    for (const route of v1) {
      for (const more of [...carriers(account.key), ...carriers("cw_live_x")])
        expect(await answer(route, { cookie, ...more })).toEqual({
          status: 400,
          code: "conflicting_credentials",
        });
      const differing = { authorization: `Bearer ${account.key}`, "x-api-key": revoked.key };
      expect(await answer(route, differing)).toEqual({ status: 400, code: "conflicting_credentials" });
      if (route.method !== "GET")
        expect(await answer(route, { cookie, "sec-fetch-site": "cross-site" })).toEqual({
          status: 403,
          code: "cross_site_request",
        });
    }
  });

  it("is reached by no other spelling of its path", async () => {
    for (const route of v1) {
      const path = filled(route);
      for (const odd of [
        `/${path}`,
        path.toUpperCase(),
        `/x/..${path}`,
        path.replace("/v1/", "/v1//"),
        `${path}/`,
        `/%76%31${path.slice(3)}`,
      ]) {
        const { status } = await answer(route, {}, odd);
        expect([odd, [401, 404].includes(status)]).toEqual([odd, true]);
      }
    }
  });

  it("knows nothing of another account's ids", async () => {
    const other = await openAccount();
    const price = await sellModel("matrix-model");
    const [late, settled, open] = [
      await settle(other, price),
      await settle(other, price),
      await admit(other, price),
    ];
    await projected(other);
    const ids = [
      late,
      answerId(settled),
      open,
      other.keyId,
      other.id,
      "whep_01ARZ3NDEKTSV4RRFFQ69G5FAV",
      "../../x",
    ];
    const headers = { authorization: `Bearer ${account.key}` };
    const named = v1.filter(({ path }) => path.includes(":"));
    expect(named.length).toBeGreaterThan(1);
    for (const route of named)
      for (const id of ids)
        expect({ route, id, ...(await answer(route, headers, filled(route, id))) }).toMatchObject({
          route,
          id,
          status: 404,
        });
    for (const id of [late, answerId(settled), open])
      expect(
        (await answer({ method: "GET", path: "/v1/generation" }, headers, `/v1/generation?id=${id}`)).status,
      ).toBe(404);
    // Where an id narrows a list, another account's narrows it to nothing.
    for (const path of ["/v1/requests", "/v1/usage"]) {
      const response = await worker.fetch(`${ORIGIN}${path}?key=${other.keyId}`, { headers });
      const body = (await response.json()) as { data?: unknown[]; totals?: { requests: number } };
      expect(body.data?.length ?? body.totals?.requests).toBe(0);
    }
  });
});

describe("a route of the operator's API", () => {
  it("lets no account in, by key or by session", async () => {
    const cookie = await cookieOf(account.keyHash);
    for (const route of under("/admin/"))
      for (const headers of [...carriers(account.key), { cookie, "sec-fetch-site": "same-origin" }] as Record<
        string,
        string
      >[])
        expect([route, (await answer(route, headers)).status]).toEqual([route, 401]);
  });
});

it("an open route needs nothing and takes no offence at anything", async () => {
  for (const route of routes.filter(({ path }) => OPEN.includes(path)))
    for (const headers of [
      {},
      { authorization: "Bearer x" },
      { cookie: "__Host-causeway_session=x" },
    ] as Record<string, string>[])
      expect([route, (await answer(route, headers)).status]).toEqual([route, 200]);
});
