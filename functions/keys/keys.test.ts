/** An account's own keys and budgets over HTTP: what a key may do to others, and what bad input gets. */
import { beforeAll, describe, expect, it } from "vitest";
import { admin, edge, openAccount, type TestAccount } from "../../test/support/worker.ts";

let account: TestAccount;
/** A key with all scopes. */
let root: string;
const all = ["inference", "usage", "manage"];
const keyWith = async (scopes: string[], more: object = {}) =>
  (await admin("POST", `/accounts/${account.id}/keys`, { name: "test", scopes, ...more })).body as {
    id: string;
    key: string;
  };

beforeAll(async () => {
  account = await openAccount("10");
  root = (await keyWith(all)).key;
});

async function call(method: string, path: string, body?: unknown, key = root) {
  const response = await edge(method, path, key, body);
  return { status: response.status, headers: response.headers, body: (await response.json()) as any };
}
const refused = async (method: string, path: string, body: unknown, param: string | null) => {
  const { status, body: answer } = await call(method, path, body);
  expect({ status, param: answer.error?.param, of: body }).toEqual({ status: 400, param, of: body });
};

describe("a key made by a key", () => {
  it("is shown once, works at once with its scopes, and is listed without its secret", async () => {
    const made = await call("POST", "/v1/keys", {
      name: "ci",
      scopes: ["usage"],
      budgets: { day: "5.00", month: "50" },
      expires_at: "2100-01-01T01:00:00+01:00",
      tokens_per_minute: 7,
    });
    expect(made).toMatchObject({
      status: 201,
      body: {
        name: "ci",
        scopes: ["usage"],
        state: "expiring",
        expires_at: "2100-01-01T00:00:00.000Z",
        tokens_per_minute: 7,
        requests_per_minute: null,
        last_used_at: null,
        budgets: {
          day: { limit: "5", spent: "0", held_nanodollars: "0" },
          month: { limit_nanodollars: "50000000000" },
        },
      },
    });
    const { key, id } = made.body;
    expect((await call("GET", "/v1/balance", undefined, key)).status).toBe(200);
    expect((await call("GET", "/v1/models", undefined, key)).body.error.code).toBe("missing_scope");
    const list = JSON.stringify((await call("GET", "/v1/keys")).body);
    expect(list).toContain(id);
    expect(list).not.toContain(key.split("_")[3]);
    expect((await call("DELETE", `/v1/keys/${id}`)).body.state).toBe("revoked");
    expect((await call("GET", "/v1/balance", undefined, key)).status).toBe(401);
  });

  it("has no scope that its maker lacks: not when it is made, changed, or rotated", async () => {
    const manager = (await keyWith(["manage"])).key;
    const strong = await keyWith(all);
    const lacks = async (method: string, path: string, body: unknown, scope: string) => {
      const { status, body: answer } = await call(method, path, body, manager);
      expect([status, answer.error.code]).toEqual([403, "missing_scope"]);
      expect(answer.error.message).toContain(`'${scope}'`);
    };
    await lacks("POST", "/v1/keys", { name: "k" }, "inference"); // the default is not less
    await lacks("POST", "/v1/keys", { name: "k", scopes: ["manage", "usage"] }, "usage");
    await lacks("POST", `/v1/keys/${strong.id}/rotate`, {}, "inference");
    const weak = await call("POST", "/v1/keys", { name: "k", scopes: ["manage"] }, manager);
    expect(weak.status).toBe(201);
    await lacks("PATCH", `/v1/keys/${weak.body.id}`, { scopes: all }, "inference");
    // What a key has already it may keep, and lose.
    expect((await call("PATCH", `/v1/keys/${strong.id}`, { scopes: all }, manager)).status).toBe(200);
    expect(
      (await call("PATCH", `/v1/keys/${strong.id}`, { scopes: ["usage"] }, manager)).body.scopes,
    ).toEqual(["usage"]);
    expect((await call("GET", "/v1/models", undefined, strong.key)).status).toBe(403);
  });

  it("of another account does not exist, on any route that takes an id", async () => {
    const other = await openAccount("0");
    for (const [method, path, body] of [
      ["GET", "", undefined],
      ["PATCH", "", { name: "mine" }],
      ["POST", "/rotate", {}],
      ["DELETE", "", undefined],
    ] as const) {
      const { status } = await call(method, `/v1/keys/${other.keyId}${path}`, body);
      expect([method, path, status]).toEqual([method, path, 404]);
    }
    expect((await edge("GET", "/v1/balance", other.key)).status).toBe(200);
  });

  it("is made once under an Idempotency-Key, and its secret is not told again", async () => {
    const worker = async (body: object, header: string) => {
      const { exports } = await import("cloudflare:workers");
      const response = await (exports as unknown as { default: Fetcher }).default.fetch(
        "https://edge.test/v1/keys",
        {
          method: "POST",
          headers: { authorization: `Bearer ${root}`, "idempotency-key": header },
          body: JSON.stringify(body),
        },
      );
      return { status: response.status, headers: response.headers, body: (await response.json()) as any };
    };
    const first = await worker({ name: "once" }, "make-1");
    expect(first.status).toBe(201);
    const again = await worker({ name: "once" }, "make-1");
    expect([again.status, again.headers.get("x-should-retry"), again.body.error.code]).toEqual([
      409,
      "false",
      "idempotent_request_ended",
    ]);
    expect(again.body.error.message).toContain(first.body.id);
    expect((await worker({ name: "twice" }, "make-1")).status).toBe(422);
    for (const bad of ["with space", "ü", "x".repeat(256), "a, b"])
      expect((await worker({ name: "once" }, bad)).body.error).toMatchObject({
        code: "invalid_idempotency_key",
        param: "Idempotency-Key",
      });
    expect((await worker({ name: "once" }, "x".repeat(255))).status).toBe(201);
  });
});

describe("a rotation", () => {
  it("answers the successor's secret; both work until the deadline, then the new one", async () => {
    const old = await keyWith(["inference", "usage", "manage"], { budgets: { day: "3" } });
    const next = await call("POST", `/v1/keys/${old.id}/rotate`, { overlap_seconds: 0 });
    expect(next).toMatchObject({
      status: 201,
      body: { name: "test", scopes: all, budgets: { day: { limit: "3" } } },
    });
    expect((await call("GET", "/v1/balance", undefined, old.key)).status).toBe(401);
    expect((await call("GET", "/v1/balance", undefined, next.body.key)).status).toBe(200);
    expect((await call("GET", `/v1/keys/${old.id}`)).body).toMatchObject({
      state: "expired",
      successor: next.body.id,
    });
    expect((await call("POST", `/v1/keys/${old.id}/rotate`, {})).body.error.code).toBe("already_rotated");
  });

  it("overlaps for a day where nobody says, and for a week at most; a key may rotate itself", async () => {
    const { id, key } = await keyWith(all);
    await refused("POST", `/v1/keys/${id}/rotate`, { overlap_seconds: 7 * 86_400 + 1 }, "overlap_seconds");
    await refused("POST", `/v1/keys/${id}/rotate`, { overlap_seconds: -1 }, "overlap_seconds");
    const before = Date.now();
    expect((await call("POST", `/v1/keys/${id}/rotate`, {}, key)).status).toBe(201);
    const ends = Date.parse((await call("GET", `/v1/keys/${id}`)).body.expires_at);
    expect(ends).toBeGreaterThanOrEqual(before + 86_400_000);
    expect(ends).toBeLessThanOrEqual(Date.now() + 86_400_000);
  });
});

describe("budgets", () => {
  it("of the account are put, shown with the balance, and taken away", async () => {
    const put = await call("PUT", "/v1/budgets", { day: "0", month: "12.5" });
    expect(put.body).toMatchObject({ day: { limit: "0" }, month: { limit: "12.5", spent: "0", held: "0" } });
    expect((await call("GET", "/v1/budgets")).body).toEqual(put.body);
    expect((await call("GET", "/v1/balance")).body.budgets).toEqual(put.body);
    const cleared = await call("PUT", "/v1/budgets", { day: null, month: null });
    expect(cleared.body).toEqual({ day: null, month: null });
  });

  it("of a key change one at a time", async () => {
    const { id } = await keyWith(all, { budgets: { day: "1", month: "2" } });
    const patched = await call("PATCH", `/v1/keys/${id}`, { budgets: { day: "3" } });
    expect(patched.body.budgets).toMatchObject({ day: { limit: "3" }, month: { limit: "2" } });
    const cleared = await call("PATCH", `/v1/keys/${id}`, { budgets: { month: null } });
    expect(cleared.body.budgets).toMatchObject({ day: { limit: "3" }, month: null });
  });
});

describe("bad input", () => {
  it.each<[string, unknown, string | null]>([
    ["name", { name: "" }, "name"],
    ["control characters in a name", { name: "a\nb" }, "name"],
    ["a scope that is none", { name: "k", scopes: ["root"] }, "scopes.0"],
    ["no scope", { name: "k", scopes: [] }, "scopes"],
    ["a scope twice", { name: "k", scopes: ["usage", "usage"] }, "scopes"],
    ["a negative budget", { name: "k", budgets: { day: "-1" } }, "budgets.day"],
    ["a budget as a number", { name: "k", budgets: { day: 5 } }, "budgets.day"],
    ["a budget of ten decimals", { name: "k", budgets: { month: "0.0000000001" } }, "budgets.month"],
    ["a budget by the week", { name: "k", budgets: { week: "1" } }, "budgets.week"],
    ["a deadline that is over", { name: "k", expires_at: "2020-01-01T00:00:00Z" }, "expires_at"],
    ["a deadline in a thousand years", { name: "k", expires_at: "3026-01-01T00:00:00Z" }, "expires_at"],
    ["a deadline without a zone", { name: "k", expires_at: "2100-01-01T00:00:00" }, "expires_at"],
    ["a secret of one's own", { name: "k", key: "cw_live_x" }, "key"],
    ["no object", [], null],
  ])("%s is a 400 that names it", async (_name, body, param) => {
    await refused("POST", "/v1/keys", body, param);
  });

  it("changes nothing, and names what is wrong", async () => {
    const { id } = await keyWith(all);
    await refused("PATCH", `/v1/keys/${id}`, {}, null);
    await refused("PATCH", `/v1/keys/${id}`, { hash: "x" }, "hash");
    await refused("PATCH", `/v1/keys/${id}`, { expires_at: "2020-01-01T00:00:00Z" }, "expires_at");
    await refused("PUT", "/v1/budgets", { day: "1" }, "month"); // both are set
    await refused("PUT", "/v1/budgets", { day: "1", month: "9999999999" }, "month");
    expect((await call("GET", "/v1/budgets")).body).toEqual({ day: null, month: null });
  });

  it("in a name comes back as text: scripts and formulas are nobody's code here", async () => {
    const name = '=HYPERLINK("http://x") <script>alert(1)</script>';
    const made = await call("POST", "/v1/keys", { name });
    expect(made.headers.get("content-type")).toContain("application/json");
    expect(made.body.name).toBe(name);
  });
});
