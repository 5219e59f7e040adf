/** The document is the app's route table, valid, and true: real answers are what it says. */
// The OpenAPI Initiative's own schema of 3.1; the package's validator reads it from disk, which workerd has not.
import openapi31 from "@seriousme/openapi-schema-validator/schemas/v3.1/schema.json" with { type: "json" };
import Ajv2020, { type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { beforeAll, describe, expect, it } from "vitest";
import {
  admin,
  db,
  edge,
  env,
  openAccount,
  sellModel,
  settle,
  type TestAccount,
} from "../../test/support/worker.ts";
import { app } from "../app.ts";
import { regions } from "../db/d1/schema.ts";
import { documentOf, type Json, routesOf } from "./document.ts";

type Document = Json & {
  readonly paths: Record<string, Record<string, Json & { readonly security: Json[] }>>;
};
let document: Document;
let ajv: Ajv2020;

beforeAll(async () => {
  const answer = await edge("GET", "/openapi.json");
  expect(answer.headers.get("access-control-allow-origin")).toBe("*");
  document = (await answer.json()) as Document;
  ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats(ajv);
  ajv.addSchema(document, "document");
});

const routes = routesOf(app);
const nameOf = ({ method, path }: { method: string; path: string }) => `${method} ${path}`;

describe("the document", () => {
  it("is valid OpenAPI 3.1, with JSON schemas that are valid, too, and no reference into the void", () => {
    const official = new Ajv2020({ strict: false });
    addFormats(official);
    official.addFormat("media-range", true);
    const check = official.compile(openapi31);
    expect({ valid: check(document), errors: check.errors }).toEqual({ valid: true, errors: null });
    expect(check({ ...document, info: {} })).toBe(false);

    const schemas = [
      ...every(document, "schema"),
      ...Object.values((document.components as Json).schemas as Json),
    ];
    expect(schemas.length).toBeGreaterThan(200);
    for (const schema of schemas)
      expect([schema, ajv.validateSchema(schema as Json)]).toEqual([schema, true]);
    const targets = new Set(every(document, "$ref"));
    for (const target of targets) {
      const found = String(target)
        .split("/")
        .slice(1)
        .reduce<unknown>((at, part) => (at as Json | undefined)?.[part], document);
      expect([target, found !== undefined]).toEqual([target, true]);
    }
    expect(targets.size).toBeGreaterThan(10);
  });

  it("has every route of the app, each once, and nothing else", () => {
    const inDocument = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => nameOf({ method: method.toUpperCase(), path })),
    );
    expect(routes.length).toBeGreaterThan(35);
    expect(inDocument.sort()).toEqual(routes.map(nameOf).sort());
  });

  it("cannot be made with a route that is not described", () => {
    const more = { method: "GET", path: "/v1/new", basePath: "/", handler: () => undefined };
    const routes = [...app.routes, more] as never;
    expect(() => documentOf({ routes }, "1")).toThrow("GET /v1/new is not described");
  });

  it("names each operation once", () => {
    const ids = Object.values(document.paths).flatMap((methods) =>
      Object.values(methods).map((operation) => operation.operationId),
    );
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("has examples that its own schemas take", () => {
    let seen = 0;
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        const body = operation.requestBody as { content: Record<string, { example?: unknown }> } | undefined;
        const example = body?.content["application/json"].example;
        if (example === undefined) continue;
        seen++;
        const check = ajv.getSchema(
          pointer(path, method, "requestBody", "content", "application/json", "schema"),
        );
        expect([path, check!(example), check!.errors]).toEqual([path, true, null]);
      }
    }
    expect(seen).toBeGreaterThan(6);
  });
});

/** The values of a key, wherever it stands. */
function every(value: unknown, key: string): unknown[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) =>
    name === key && !("properties" in value) ? [inner, ...every(inner, key)] : every(inner, key),
  );
}

const pointer = (path: string, method: string, ...rest: string[]) =>
  `document#/paths/${[path, method.toLowerCase(), ...rest].map((part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1"))).join("/")}`;

/** The schema of an operation's answer, or of its error. */
function schemaOf(method: string, path: string, status: number): ValidateFunction {
  const place = ["responses", String(status), "content", "application/json", "schema"];
  const check = ajv.getSchema(pointer(path, method, ...place));
  if (!check) throw new Error(`${method} ${path} says nothing of a ${status}`);
  return check;
}

describe("real answers are what the document says", () => {
  let account: TestAccount;
  let key: { id: string; key: string };
  let requestId: string;
  let webhook: string;
  beforeAll(async () => {
    account = await openAccount("10");
    await db.insert(regions).values({ id: "doc-region", name: "R", zone: "weur" }).onConflictDoNothing();
    const price = await sellModel();
    requestId = await settle(account, price);
    const made = await admin("POST", `/accounts/${account.id}/keys`, {
      name: "doc",
      scopes: ["inference", "usage", "manage"],
      budgets: { day: "5" },
      expires_at: "2100-01-01T00:00:00Z",
    });
    key = made.body as { id: string; key: string };
    const hook = { url: "https://hooks.acme.com/y", events: ["key.revoked"] };
    webhook = ((await (await edge("POST", "/v1/webhooks", key.key, hook)).json()) as { id: string }).id;
  });

  const v1: [string, string, (() => string)?, unknown?][] = [
    ["GET", "/v1/models"],
    ["GET", "/v1/models/{id}", () => "/v1/models/test-model"],
    ["GET", "/v1/usage", () => "/v1/usage?group_by=model&compare=previous"],
    ["GET", "/v1/requests"],
    ["GET", "/v1/requests/histogram"],
    ["GET", "/v1/requests/{id}", () => `/v1/requests/${requestId}`],
    ["GET", "/v1/regions"],
    ["GET", "/v1/journal"],
    ["GET", "/v1/generation", () => `/v1/generation?id=${requestId}`],
    ["GET", "/v1/balance"],
    ["GET", "/v1/keys"],
    ["POST", "/v1/keys", undefined, { name: "n", budgets: { day: "1" } }],
    ["GET", "/v1/keys/{id}", () => `/v1/keys/${account.keyId}`],
    ["PATCH", "/v1/keys/{id}", () => `/v1/keys/${account.keyId}`, { tokens_per_minute: 1_000_000 }],
    ["POST", "/v1/keys/{id}/rotate", () => `/v1/keys/${account.keyId}/rotate`, {}],
    ["DELETE", "/v1/keys/{id}", () => `/v1/keys/${account.keyId}`],
    ["GET", "/v1/budgets"],
    ["PUT", "/v1/budgets", undefined, { day: "3", month: null }],
    ["GET", "/v1/webhooks"],
    ["POST", "/v1/webhooks", undefined, { url: "https://hooks.acme.com/x", events: ["key.revoked"] }],
    ["GET", "/v1/webhooks/{id}", () => `/v1/webhooks/${webhook}`],
    ["PATCH", "/v1/webhooks/{id}", () => `/v1/webhooks/${webhook}`, { description: "d" }],
    ["POST", "/v1/webhooks/{id}/rotate", () => `/v1/webhooks/${webhook}/rotate`, { overlap_seconds: 60 }],
    ["POST", "/v1/webhooks/{id}/test", () => `/v1/webhooks/${webhook}/test`],
    ["GET", "/v1/webhooks/{id}/deliveries", () => `/v1/webhooks/${webhook}/deliveries`],
    ["DELETE", "/v1/webhooks/{id}", () => `/v1/webhooks/${webhook}`],
    ["GET", "/v1/alerts"],
    ["PUT", "/v1/alerts", undefined, { balance_low: "5", usage: [{ period: "day", amount: "1" }] }],
    ["GET", "/v1/billing"],
  ];
  it.each(v1)("%s %s", async (method, path, at = () => path, body = undefined) => {
    await told(method, path, await edge(method, at(), key.key, body));
    // Errors have one shape, and each status that comes is in the document.
    await told(method, path, await edge(method, at(), "cw_wrong", body), 401);
    if (path.includes("{")) {
      const other = await edge(method, at().replace(/(key_|test-|whep_|req_)\w+/, "key_none"), key.key, body);
      await told(method, path, other, 404);
    }
    if (body !== undefined) await told(method, path, await edge(method, at(), key.key, { no: 1 }), 400);
  });

  const operator: [string, string, (() => string)?, unknown?][] = [
    ["GET", "/admin/regions"],
    ["PUT", "/admin/regions/{id}", () => "/admin/regions/doc-region", { name: "R", zone: "weur" }],
    ["GET", "/admin/models"],
    ["GET", "/admin/prices"],
    ["GET", "/admin/backends"],
    ["GET", "/admin/pools"],
    ["GET", "/admin/accounts"],
    ["POST", "/admin/accounts", undefined, { name: "A", budgets: { month: "5" } }],
    ["GET", "/admin/accounts/{id}", () => `/admin/accounts/${account.id}`],
    ["PATCH", "/admin/accounts/{id}", () => `/admin/accounts/${account.id}`, { budgets: { day: "9" } }],
    [
      "POST",
      "/admin/accounts/{id}/credits",
      () => `/admin/accounts/${account.id}/credits`,
      { amount: "1", reference: "r" },
    ],
    ["GET", "/admin/accounts/{id}/journal", () => `/admin/accounts/${account.id}/journal`],
    ["GET", "/admin/accounts/{id}/keys", () => `/admin/accounts/${account.id}/keys`],
    ["POST", "/admin/accounts/{id}/keys", () => `/admin/accounts/${account.id}/keys`, { name: "k" }],
    ["GET", "/admin/accounts/{id}/keys/{key}", () => `/admin/accounts/${account.id}/keys/${key.id}`],
    [
      "PATCH",
      "/admin/accounts/{id}/keys/{key}",
      () => `/admin/accounts/${account.id}/keys/${key.id}`,
      { name: "l" },
    ],
    ["GET", "/admin/stripe/events"],
    ["GET", "/admin/audit", () => `/admin/audit?account=${account.id}`],
  ];
  it.each(operator)("%s %s", async (method, path, at = () => path, body = undefined) => {
    await told(method, path, await edge(method, at(), env.ADMIN_KEY, body));
    await told(method, path, await edge(method, at(), "wrong", body), 401);
  });

  /** The answer is what the document says of its status, and has no field that the document leaves out. */
  async function told(method: string, path: string, response: Response, status?: number): Promise<void> {
    const body = await response.json();
    if (status !== undefined) expect({ path, status: response.status }).toEqual({ path, status });
    else expect(response.ok, JSON.stringify(body)).toBe(true);
    const check = schemaOf(method, path, response.status);
    expect({ valid: check(body), errors: check.errors }).toEqual({ valid: true, errors: null });
    const answer = routes.find((route) => route.method === method && route.path === path)!.operation!.answer!;
    if (response.ok) expect(answer.safeParse(body).error).toBeUndefined();
    expect(response.headers.get("x-request-id")).toMatch(/^req_/);
  }
});

describe("a route's scope", () => {
  const open = ["/health", "/openapi.json", "/docs"];
  const account = routes.filter(({ path }) => path.startsWith("/v1/"));

  it("is named once for each route of the account's API, and for no other", () => {
    for (const route of routes) {
      const named = app.routes.filter(
        ({ method, path, handler }) =>
          method === route.method &&
          path.replace(/:(\w+)(\{[^}]*\})?/g, "{$1}").replace(/(.)\/$/, "$1") === route.path &&
          "scope" in handler,
      ).length;
      expect([nameOf(route), named]).toEqual([nameOf(route), route.path.startsWith("/v1/") ? 1 : 0]);
      expect(open.includes(route.path) || /^\/(v1|admin|dashboard|webhooks)\//.test(route.path)).toBe(true);
    }
  });

  it("is asked for: a key with the other two is a 403 that names it, whatever the rest of the request is", async () => {
    const { id } = await openAccount("1");
    await sellModel();
    const keys: Record<string, string> = {};
    const scopes = ["inference", "usage", "manage"];
    for (const scope of scopes) {
      const others = scopes.filter((one) => one !== scope);
      const made = await admin("POST", `/accounts/${id}/keys`, { name: scope, scopes: others });
      keys[scope] = made.body.key;
    }
    // Completions are admitted by the account's object, which has a test of its own.
    for (const { method, path, scope } of account.filter(({ path }) => path !== "/v1/chat/completions")) {
      const answer = await edge(
        method,
        path.replace(/\{\w+\}/g, "x"),
        keys[scope!],
        method === "GET" ? undefined : {},
      );
      const { error } = (await answer.json()) as { error: { code: string; message: string } };
      expect([method, path, answer.status, error.code]).toEqual([method, path, 403, "missing_scope"]);
      expect(error.message).toContain(`'${scope}'`);
    }
  });
});

describe("the page", () => {
  it("has every operation and every schema, and no script, under a policy that allows none", async () => {
    const answer = await edge("GET", "/docs");
    const html = await answer.text();
    const policy = answer.headers.get("content-security-policy")!;
    expect(policy).toMatch(/^default-src 'none'; style-src 'sha256-[\w+/=]+';/);
    expect(policy).not.toContain("unsafe");
    const style = /<style>([\s\S]*?)<\/style>/.exec(html)![1]!;
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(style));
    expect(policy).toContain(btoa(String.fromCharCode(...new Uint8Array(digest))));
    expect(html).not.toMatch(/<script|\son\w+=|style="/i);
    for (const methods of Object.values(document.paths))
      for (const operation of Object.values(methods)) expect(html).toContain(`id="${operation.operationId}"`);
    const links = [...html.matchAll(/href="#([^"]+)"/g)].map(([, id]) => id);
    for (const id of links) expect(html).toContain(`id="${id}"`);
    expect(html.length).toBeLessThan(400_000);
  });
});
