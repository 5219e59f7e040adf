/** The admin API over HTTP, as an operator uses it: each route, what it refuses, and who may call it. */
import { eq } from "drizzle-orm";
import { beforeAll, describe, expect, it } from "vitest";
import { admin, db, edge, env, openAccount } from "../../test/support/worker.ts";
import { accounts, prices } from "../db/d1/schema.ts";
import { isAccountId, newAccountId } from "../ids.ts";
import { adminRoutes } from "./routes.ts";

const region = { name: "Test", zone: "weur", simulated_distance_ms: 40 };
const model = {
  name: "Test Model",
  description: "For tests.",
  owned_by: "tests",
  context_length: 8_192,
  default_max_output_tokens: 1_024,
};
const backend = {
  name: "One",
  region: "admin-region",
  model: "admin/model-1",
  served_as: "model-1",
  kind: "causeway",
  chip: "cpu",
  plays: "gpu",
  url: "http://127.0.0.1:8101",
  secret_name: "BACKEND_TEST_SECRET",
  state: "active",
};
const price = { model: "admin/model-1", input: "0.28", cached_input: "0.028", output: "0.42" };

beforeAll(async () => {
  expect((await admin("PUT", "/regions/admin-region", region)).status).toBe(200);
  expect((await admin("PUT", "/models/admin/model-1", model)).status).toBe(200);
});

/** A 400 that names this field. */
async function refused(method: string, path: string, body: unknown, param: string | null): Promise<void> {
  const answer = await admin(method, path, body);
  expect({ status: answer.status, param: answer.body.error?.param, of: body }).toEqual({
    status: 400,
    param,
    of: body,
  });
  expect(answer.body.error.type).toBe("invalid_request_error");
}

/** The body without one field, for each field. */
const without = (body: object) =>
  Object.keys(body).map(
    (field) => [field, Object.fromEntries(Object.entries(body).filter(([key]) => key !== field))] as const,
  );

describe("the admin API's credential", () => {
  const paths = adminRoutes.routes
    .filter(({ method }) => method !== "ALL")
    .map(
      ({ method, path }) =>
        [method, `/admin${path.replace(":id{.+}", "x").replace(":id", "x").replace(":key", "y")}`] as const,
    );

  it("is asked for on every route, and on paths that lead nowhere", async () => {
    expect(paths.length).toBeGreaterThan(15);
    const account = await openAccount();
    for (const [method, path] of [
      ...paths,
      ["GET", "/admin"],
      ["GET", "/admin/nothing"],
      ["OPTIONS", "/admin/models"],
    ] as const) {
      for (const key of [undefined, "wrong", `${env.ADMIN_KEY}x`, env.ADMIN_KEY!.slice(0, -1), account.key]) {
        const response = await edge(
          method,
          path,
          key,
          method === "POST" || method === "PUT" ? {} : undefined,
        );
        expect({ method, path, key, status: response.status }).toEqual({ method, path, key, status: 401 });
      }
    }
  });

  it("is no API key", async () => {
    expect((await edge("GET", "/v1/balance", env.ADMIN_KEY)).status).toBe(401);
  });

  it("comes before the router: an unknown path with it is a 404 in the error shape", async () => {
    const { status, body } = await admin("GET", "/nothing");
    expect([status, body.error.code]).toEqual([404, "unknown_route"]);
  });
});

describe("any body", () => {
  it("must be JSON", async () => {
    const { status, body } = await admin("POST", "/accounts", "{");
    expect([status, body.error.code]).toEqual([400, "invalid_json"]);
    await refused("POST", "/accounts", "[]", null);
    await refused("POST", "/accounts", "null", null);
  });

  it("is at most 64 KiB, counted and not claimed", async () => {
    const body = JSON.stringify({ name: "x".repeat(64 * 1024) });
    const chunks = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let at = 0; at < body.length; at += 1_000)
          controller.enqueue(new TextEncoder().encode(body.slice(at, at + 1_000)));
        controller.close();
      },
    });
    const { status, body: answer } = await admin("POST", "/accounts", body);
    expect([status, answer.error.code]).toEqual([413, "request_too_large"]);
    const { default: app } = await import("../index.ts");
    const streamed = new Request("https://edge.test/admin/accounts", {
      method: "POST",
      headers: { authorization: `Bearer ${env.ADMIN_KEY}` },
      body: chunks,
    });
    const response = await app.fetch(streamed, env, {} as ExecutionContext);
    expect(response.status).toBe(413);
  });

  it("has no field that the route does not know: a mistyped one must not pass as left out", async () => {
    await refused("PUT", "/regions/admin-region", { ...region, simulated_distance: 4 }, "simulated_distance");
    await refused("PUT", "/models/admin/model-1", { ...model, contextLength: 4 }, "contextLength");
    await refused("PUT", "/backends/bknd_1", { ...backend, secret: "x" }, "secret");
    await refused("POST", "/prices", { ...price, reasoning: "1" }, "reasoning");
    await refused("POST", "/accounts", { name: "a", balance: "5" }, "balance");
    const { id } = await openAccount("0");
    await refused(
      "POST",
      `/accounts/${id}/credits`,
      { amount: "1", reference: "r", currency: "EUR" },
      "currency",
    );
    await refused("POST", `/accounts/${id}/keys`, { name: "k", rpm: 5 }, "rpm");
  });
});

describe("regions", () => {
  it("are put, put again with other values, and listed", async () => {
    const put = await admin("PUT", "/regions/eu-test", { name: "A", zone: "weur" });
    expect(put).toMatchObject({
      status: 200,
      body: { id: "eu-test", name: "A", zone: "weur", simulated_distance_ms: null },
    });
    await admin("PUT", "/regions/eu-test", { name: "B", zone: "eeur", simulated_distance_ms: 90 });
    const { body } = await admin("GET", "/regions");
    const listed = body.data.filter(({ id }: { id: string }) => id === "eu-test");
    expect(listed).toMatchObject([{ name: "B", zone: "eeur", simulated_distance_ms: 90 }]);
  });

  it("refuse what is none", async () => {
    await refused("PUT", "/regions/EU_1", region, "id");
    await refused("PUT", "/regions/r", { ...region, zone: "mars" }, "zone");
    await refused("PUT", "/regions/r", { ...region, name: "" }, "name");
    await refused("PUT", "/regions/r", { ...region, name: "a\nb" }, "name");
    for (const distance of [-1, 1.5, "40", 1e9])
      await refused(
        "PUT",
        "/regions/r",
        { ...region, simulated_distance_ms: distance },
        "simulated_distance_ms",
      );
  });
});

describe("models", () => {
  it("have ids with slashes, keep their time of creation, and are listed", async () => {
    const first = await admin("PUT", "/models/org/family/m:1", model);
    expect(first.status).toBe(200);
    expect(first.body).toMatchObject({ id: "org/family/m:1", ...model });
    const second = await admin("PUT", "/models/org/family/m:1", { ...model, name: "Renamed" });
    expect(second.body).toEqual({ ...first.body, name: "Renamed" });
    expect((await admin("GET", "/models")).body.data).toContainEqual(second.body);
  });

  it("refuse what is none", async () => {
    for (const [field, rest] of without(model)) await refused("PUT", "/models/m", rest, field);
    await refused("PUT", "/models/m%20m", model, "id");
    await refused("PUT", "/models/m", { ...model, context_length: 0 }, "context_length");
    await refused("PUT", "/models/m", { ...model, context_length: 2 ** 53 }, "context_length");
    await refused(
      "PUT",
      "/models/m",
      { ...model, default_max_output_tokens: 8_193 },
      "default_max_output_tokens",
    );
    await refused(
      "PUT",
      "/models/m",
      { ...model, default_max_output_tokens: 0 },
      "default_max_output_tokens",
    );
  });
});

describe("prices", () => {
  it("are integers of nanodollars a million tokens inside, and the same decimals outside", async () => {
    const { status, body } = await admin("POST", "/prices", price);
    expect(status).toBe(201);
    expect(body).toMatchObject(price);
    const row = await db.select().from(prices).where(eq(prices.id, body.id)).get();
    expect(row).toMatchObject({ input: 280_000_000, cachedInput: 28_000_000, output: 420_000_000 });
    expect((await admin("GET", "/prices?model=admin/model-1")).body.data).toEqual([body]);
    expect((await admin("GET", "/prices?model=other")).body.data).toEqual([]);
  });

  it("are added and never changed, and a model is sold from the next request on at its new one", async () => {
    await admin("PUT", "/models/sold", model);
    const account = await openAccount();
    expect((await edge("GET", "/v1/models/sold", account.key)).status).toBe(404);
    const first = await admin("POST", "/prices", {
      ...price,
      model: "sold",
      effective_at: "2026-01-01T00:00:00Z",
    });
    const sold = (await (await edge("GET", "/v1/models/sold", account.key)).json()) as any;
    expect(sold.pricing).toMatchObject({
      prompt: "0.00000028",
      completion: "0.00000042",
      input_cache_read: "0.000000028",
    });
    await admin("POST", "/prices", {
      ...price,
      model: "sold",
      input: "1",
      effective_at: "2026-02-01T00:00:00+01:00",
    });
    const future = await admin("POST", "/prices", {
      ...price,
      model: "sold",
      input: "9",
      effective_at: "2199-01-01T00:00:00Z",
    });
    expect(future.status).toBe(201);
    const resold = (await (await edge("GET", "/v1/models/sold", account.key)).json()) as any;
    expect(resold.pricing.prompt).toBe("0.000001");
    const { body } = await admin("GET", "/prices?model=sold");
    expect(body.data).toHaveLength(3);
    expect(body.data[0]).toEqual(first.body);
  });

  it("may be 0: free is a price, and unknown is none", async () => {
    await admin("PUT", "/models/free", model);
    expect(
      (await admin("POST", "/prices", { model: "free", input: "0", cached_input: "0", output: "0" })).status,
    ).toBe(201);
    expect((await edge("GET", "/v1/models/free", (await openAccount()).key)).status).toBe(200);
  });

  it("refuse what is none", async () => {
    for (const [field, rest] of without(price)) await refused("POST", "/prices", rest, field);
    await refused("POST", "/prices", { ...price, model: "no-such-model" }, "model");
    await refused("POST", "/prices", { ...price, cached_input: "0.281" }, "cached_input");
    for (const bad of ["-1", "1e3", "0.0000000001", "", "a", 0.28, null, "100000.01"])
      await refused("POST", "/prices", { ...price, output: bad }, "output");
    for (const bad of ["yesterday", "2026-01-01", "2026-01-01T00:00:00", 1_700_000_000])
      await refused("POST", "/prices", { ...price, effective_at: bad }, "effective_at");
    // Older than the one in force: it would never apply.
    await refused("POST", "/prices", { ...price, effective_at: "2020-01-01T00:00:00Z" }, "effective_at");
  });
});

describe("backends", () => {
  it("are put, put again, listed and deleted", async () => {
    const first = await admin("PUT", "/backends/bknd_one.1", backend);
    expect(first).toMatchObject({ status: 200, body: { id: "bknd_one.1", ...backend } });
    const second = await admin("PUT", "/backends/bknd_one.1", { ...backend, plays: null, state: "draining" });
    expect(second.body).toEqual({ ...first.body, plays: null, state: "draining" });
    const able = {
      ...{ context_length: 4_096, tools: false, max_concurrent: 8, max_waiting: 0 },
      ...{ prefill_tokens_per_second: 5_000, decode_tokens_per_second: 12.5 },
    };
    expect((await admin("PUT", "/backends/bknd_one.1", { ...backend, ...able })).body).toMatchObject(able);
    const nothing = Object.fromEntries(Object.keys(able).map((field) => [field, null]));
    expect(
      (await admin("PUT", "/backends/bknd_one.1", { ...backend, state: "draining" })).body,
    ).toMatchObject(nothing);
    await admin("PUT", "/backends/bknd_one.1", { ...backend, plays: null, state: "draining" });
    expect((await admin("GET", "/backends")).body.data).toContainEqual(second.body);
    expect(await admin("DELETE", "/backends/bknd_one.1")).toEqual({
      status: 200,
      body: { id: "bknd_one.1", deleted: true },
    });
    expect((await admin("DELETE", "/backends/bknd_one.1")).status).toBe(404);
    expect((await admin("GET", "/backends")).body.data.map(({ id }: { id: string }) => id)).not.toContain(
      "bknd_one.1",
    );
  });

  it("never show a secret: D1 has its name", async () => {
    await admin("PUT", "/backends/bknd_secret", backend);
    const response = await edge("GET", "/admin/backends", env.ADMIN_KEY);
    expect(await response.text()).not.toContain(env.BACKEND_TEST_SECRET);
  });

  it("refuse what is none", async () => {
    for (const [field, rest] of without(backend))
      if (field !== "plays") await refused("PUT", "/backends/bknd_1", rest, field);
    for (const id of ["one", "bknd_", "bknd_a%2Fb", `bknd_${"x".repeat(61)}`])
      await refused("PUT", `/backends/${id}`, backend, "id");
    await refused("PUT", "/backends/bknd_1", { ...backend, region: "nowhere" }, "region");
    await refused("PUT", "/backends/bknd_1", { ...backend, model: "unknown" }, "model");
    for (const [field, values] of Object.entries({
      context_length: [0, 1.5, model.context_length + 1, "8192"],
      tools: ["yes", 1],
      max_concurrent: [0, -1, 2.5, 1_000_001],
      max_waiting: [-1, 0.5],
      prefill_tokens_per_second: [0, -1, 1e12, "fast"],
      decode_tokens_per_second: [0, -1, 1e12, "fast"],
    }))
      for (const value of values)
        await refused("PUT", "/backends/bknd_1", { ...backend, max_concurrent: 4, [field]: value }, field);
    await refused("PUT", "/backends/bknd_1", { ...backend, max_waiting: 4 }, "max_waiting");
    await refused("PUT", "/backends/bknd_1", { ...backend, kind: "grpc" }, "kind");
    await refused("PUT", "/backends/bknd_1", { ...backend, chip: "tpu" }, "chip");
    await refused("PUT", "/backends/bknd_1", { ...backend, state: "on" }, "state");
    for (const secret of ["ADMIN_KEY", "BACKEND_", "BACKEND_a", "KEY_SECRET_A", "BACKEND_X KEY"])
      await refused("PUT", "/backends/bknd_1", { ...backend, secret_name: secret }, "secret_name");
    for (const url of [
      "backend:8101",
      "ftp://b",
      "file:///etc/passwd",
      "/v1",
      "http://u:p@b",
      "http://b/?x",
      "http://b?",
      "http://b/#y",
      "http://b\\c",
      "http://b c",
      "",
    ])
      await refused("PUT", "/backends/bknd_1", { ...backend, url }, "url");
  });
});

describe("accounts", () => {
  it("see their own part of the fleet, or all of it where the operator says so", async () => {
    const { body: own } = await admin("POST", "/accounts", { name: "own" });
    expect(own.fleet_view).toBe("own");
    expect((await admin("POST", "/accounts", { name: "full", fleet_view: "full" })).body.fleet_view).toBe(
      "full",
    );
    const path = `/accounts/${own.id}`;
    await admin("PATCH", path, { residency: ["eu"] });
    expect((await admin("PATCH", path, { fleet_view: "full" })).body).toMatchObject({
      fleet_view: "full",
      residency: ["eu"],
    });
    expect((await admin("GET", path)).body.fleet_view).toBe("full");
    await refused("PATCH", path, { fleet_view: "all" }, "fleet_view");
    await refused("PATCH", path, {}, null);
  });

  it("are made with a balance of nothing, and listed page by page", async () => {
    const made = [];
    for (const name of ["a", "b", "c"]) made.push((await admin("POST", "/accounts", { name })).body);
    expect(made.every(({ id }) => isAccountId(id))).toBe(true);
    expect(made[0]).toMatchObject({
      id: made[0]!.id,
      name: "a",
      jurisdiction: null,
      created_at: expect.stringMatching(/Z$/),
    });
    const one = await admin("GET", `/accounts/${made[1]!.id}`);
    expect(one).toMatchObject({
      status: 200,
      body: { ...made[1], balance: "0", held: "0", available_nanodollars: "0" },
    });

    const seen: string[] = [];
    let after = "";
    for (;;) {
      const { status, body } = await admin("GET", `/accounts?limit=2${after && `&after=${after}`}`);
      expect(status).toBe(200);
      seen.push(...body.data.map(({ id }: { id: string }) => id));
      if (!body.has_more) break;
      expect(body.data).toHaveLength(2);
      after = body.last_id;
    }
    expect(seen).toEqual((await db.select().from(accounts)).map(({ id }) => id).sort());
  });

  it("refuse what is none", async () => {
    await refused("POST", "/accounts", {}, "name");
    await refused("POST", "/accounts", { name: "x".repeat(201) }, "name");
    await refused("POST", "/accounts", { name: "a", jurisdiction: "us" }, "jurisdiction");
    await refused("GET", "/accounts?limit=0", undefined, "limit");
    await refused("GET", "/accounts?limit=1001", undefined, "limit");
    await refused("GET", "/accounts?page=2", undefined, "page");
  });

  it("leave nothing in D1 where the jurisdiction is not to be had", async () => {
    const before = (await db.select().from(accounts)).length;
    await refused("POST", "/accounts", { name: "eu", jurisdiction: "eu" }, "jurisdiction");
    expect((await db.select().from(accounts)).length).toBe(before);
  });

  it("that are not there are a 404 on every path", async () => {
    for (const id of [newAccountId(), "acct_x", "%2e%2e"]) {
      for (const [method, path, body] of [
        ["GET", "", undefined],
        ["POST", "/credits", { amount: "1", reference: "r" }],
        ["GET", "/journal", undefined],
        ["GET", "/keys", undefined],
        ["POST", "/keys", { name: "k" }],
        ["PATCH", "/keys/key_1", { requests_per_minute: 1 }],
        ["DELETE", "/keys/key_1", undefined],
      ] as const) {
        const answer = await admin(method, `/accounts/${id}${path}`, body);
        expect({ id, method, path, status: answer.status }).toEqual({ id, method, path, status: 404 });
      }
    }
    expect((await admin("GET", `/audit?account=${newAccountId()}`)).status).toBe(404);
  });

  it("that D1 lists and whose object was never opened are opened when they are used", async () => {
    const id = newAccountId();
    await db.insert(accounts).values({ id, name: "half made", jurisdiction: null, createdAt: Date.now() });
    expect((await admin("GET", `/accounts/${id}`)).body).toMatchObject({ balance: "0" });
    expect(
      (await admin("POST", `/accounts/${id}/credits`, { amount: "2", reference: "r" })).body.balance,
    ).toBe("2");
  });
});

describe("an account's journal", () => {
  it("is read entry by entry, oldest first, page by page", async () => {
    const { id } = await openAccount("0");
    for (const amount of ["1", "2", "3"])
      await admin("POST", `/accounts/${id}/credits`, { amount, reference: `r${amount}` });
    const first = await admin("GET", `/accounts/${id}/journal?limit=2`);
    expect(first.body).toMatchObject({
      has_more: true,
      data: [
        { sequence: 1, kind: "credit", reference: "r1", balance: 1e9 },
        { sequence: 2, balance: 3e9 },
      ],
    });
    const rest = await admin("GET", `/accounts/${id}/journal?after=2`);
    expect(rest.body).toMatchObject({ has_more: false, data: [{ sequence: 3, balance: 6e9 }] });
    await refused("GET", `/accounts/${id}/journal?after=-1`, undefined, "after");
  });
});

describe("credits", () => {
  const credit = (id: string, amount: string, reference: string) =>
    admin("POST", `/accounts/${id}/credits`, { amount, reference });

  it("add exactly what they say, once a reference", async () => {
    const { id } = await openAccount("0");
    const first = await credit(id, "0.000000001", "invoice 1");
    expect(first).toMatchObject({
      status: 200,
      body: { credited: true, balance: "0.000000001", available_nanodollars: "1" },
    });
    expect(await credit(id, "0.000000001", "invoice 1")).toMatchObject({
      status: 200,
      body: { credited: false, balance: "0.000000001" },
    });
    expect((await credit(id, "1.5", "invoice 2")).body.balance).toBe("1.500000001");
  });

  it("refuse a reference that credited another amount, and change nothing", async () => {
    const { id } = await openAccount("0");
    await credit(id, "5", "r");
    expect(await credit(id, "6", "r")).toMatchObject({
      status: 400,
      body: { error: { param: "reference", code: "reference_used" } },
    });
    expect((await admin("GET", `/accounts/${id}`)).body.balance).toBe("5");
  });

  it("take money back, never more than is available", async () => {
    const { id } = await openAccount("10");
    expect((await credit(id, "-4", "refund")).body.balance).toBe("6");
    await refused(
      "POST",
      `/accounts/${id}/credits`,
      { amount: "-6.000000001", reference: "too much" },
      "amount",
    );
    expect((await credit(id, "-6", "rest")).body.balance).toBe("0");
  });

  it("refuse what is none", async () => {
    const { id } = await openAccount("0");
    for (const amount of ["0", "", "1,5", "1e9", 5, "0.0000000001", "99999999"])
      await refused("POST", `/accounts/${id}/credits`, { amount, reference: "r" }, "amount");
    for (const reference of ["", "x".repeat(101), 5, undefined])
      await refused("POST", `/accounts/${id}/credits`, { amount: "1", reference }, "reference");
    await credit(id, "9007199", "most");
    await refused("POST", `/accounts/${id}/credits`, { amount: "1", reference: "more" }, "amount");
  });
});

describe("keys", () => {
  it("are shown once, work at once, and stop when they are revoked", async () => {
    const { id } = await openAccount();
    const made = await admin("POST", `/accounts/${id}/keys`, { name: "ci", requests_per_minute: 5 });
    expect(made.status).toBe(201);
    const { key, ...rest } = made.body;
    expect(rest).toMatchObject({
      name: "ci",
      requests_per_minute: 5,
      tokens_per_minute: null,
      revoked_at: null,
    });
    expect((await edge("GET", "/v1/balance", key)).status).toBe(200);

    const listed = await edge("GET", `/admin/accounts/${id}/keys`, env.ADMIN_KEY);
    const text = await listed.text();
    expect(JSON.parse(text).data).toContainEqual({ ...rest, last_used_at: expect.stringMatching(/Z$/) });
    expect(text).not.toContain(key.split("_")[3]);

    const revoked = await admin("DELETE", `/accounts/${id}/keys/${rest.id}`);
    expect(revoked.body.revoked_at).toMatch(/Z$/);
    expect((await edge("GET", "/v1/balance", key)).status).toBe(401);
    expect((await admin("DELETE", `/accounts/${id}/keys/${rest.id}`)).body).toEqual(revoked.body);
  });

  it("have limits that change one at a time", async () => {
    const { id } = await openAccount();
    const { body: made } = await admin("POST", `/accounts/${id}/keys`, {
      name: "k",
      requests_per_minute: 5,
      tokens_per_minute: 1_000,
    });
    const path = `/accounts/${id}/keys/${made.id}`;
    expect((await admin("PATCH", path, { requests_per_minute: 9 })).body).toMatchObject({
      requests_per_minute: 9,
      tokens_per_minute: 1_000,
    });
    expect((await admin("PATCH", path, { tokens_per_minute: null })).body).toMatchObject({
      requests_per_minute: 9,
      tokens_per_minute: null,
    });
    await refused("PATCH", path, {}, null);
    await refused("PATCH", path, { title: "other" }, "title");
    for (const bad of [0, -1, 1.5, "5", 2 ** 53])
      await refused("PATCH", path, { requests_per_minute: bad }, "requests_per_minute");
  });

  it("of another account are a 404, and stay as they are", async () => {
    const [mine, other] = [await openAccount(), await openAccount()];
    const path = `/accounts/${mine.id}/keys/${other.keyId}`;
    expect((await admin("DELETE", path)).status).toBe(404);
    expect((await admin("PATCH", path, { requests_per_minute: 1 })).status).toBe(404);
    expect((await edge("GET", "/v1/balance", other.key)).status).toBe(200);
  });

  it("refuse what is none", async () => {
    const { id } = await openAccount();
    await refused("POST", `/accounts/${id}/keys`, {}, "name");
    await refused("POST", `/accounts/${id}/keys`, { name: "k", tokens_per_minute: 0 }, "tokens_per_minute");
  });
});
