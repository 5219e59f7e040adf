/** GET /v1/requests, its histogram, and one request, over HTTP: the same from the account's object and from D1. */
import { runInDurableObject } from "cloudflare:test";
import { beforeEach, describe, expect, it } from "vitest";
import {
  addKey,
  admit,
  db,
  edge,
  openAccount,
  projected,
  sellModel,
  settle,
  type TestAccount,
  usageOf,
} from "../../test/support/worker.ts";
import { DAY_MS, HOUR_MS, MINUTE_MS } from "../clock.ts";
import { events, marks } from "../db/d1/schema.ts";
import type { TraceRecord } from "../dispatch/trace.ts";
import { answerId, attemptId, newRequestId, type RequestId } from "../ids.ts";
import { nanodollars, type PriceVersion } from "../money.ts";
import type { AccountObject } from "../objects/account.ts";

let account: TestAccount;
let price: PriceVersion;
beforeEach(async () => {
  account = await openAccount();
  price = await sellModel("requests-model");
});

async function read(
  path: string,
  query: Record<string, string | number> = {},
  key = account.key,
): Promise<any> {
  const text = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
  const response = await edge("GET", `${path}?${text}`, key);
  return { status: response.status, ...((await response.json()) as any) };
}
const list = (query: Record<string, string | number> = {}) => read("/v1/requests", query);
const idsOf = ({ data }: any): RequestId[] => data.map((row: any) => row.request_id);

/** Events as the outbox would have written them: `count` of them, one a minute, the newest now. */
async function history(count: number, more: (i: number) => object = () => ({})): Promise<void> {
  const now = Date.now();
  const rows = Array.from({ length: count }, (_, i) => ({
    account: account.id,
    sequence: i + 1,
    kind: "usage" as const,
    at: now - (count - 1 - i) * MINUTE_MS,
    amount: nanodollars(-1_000),
    balance: nanodollars(0),
    requestId: newRequestId(),
    keyId: account.keyId,
    model: "m",
    region: "r",
    backend: "b",
    ending: "finished" as const,
    ttftMs: 100,
    ...more(i),
  }));
  for (let i = 0; i < rows.length; i += 4) await db.insert(events).values(rows.slice(i, i + 4));
  await db.insert(marks).values({ account: account.id, mark: count });
}

describe("GET /v1/requests", () => {
  it("lists every ending, newest first, the same at once and from D1", async () => {
    const endings = ["finished", "client_left", "backend_failed", "refused", "deadline"] as const;
    const ids: RequestId[] = [];
    for (const ending of endings) {
      const attempts = [1, 2].map((n) => ({
        id: attemptId(newRequestId(), n),
        backend: "b",
        region: "r",
        outcome: "served" as const,
        ms: 1,
      }));
      const more = { ending, ...(ending === "finished" && { attempts }) };
      ids.unshift(await settle(account, price, usageOf(100, 11, { cachedInput: 50, reasoning: 3 }), more));
    }
    const atOnce = await list();
    expect(idsOf(atOnce)).toEqual(ids);
    expect(atOnce.data.map((row: any) => row.outcome)).toEqual([
      "failed",
      "refused",
      "failed",
      "client_left",
      "finished",
    ]);
    expect(atOnce).toMatchObject({ object: "list", next_before: null, newest: 6, matched: 5 });
    expect(atOnce.data[4]).toEqual({
      sequence: 2,
      id: answerId(ids[4]!),
      request_id: ids[4],
      admitted_at: expect.any(String),
      settled_at: expect.any(String),
      model: "requests-model",
      region: "test-region",
      backend: "bknd_test",
      key: account.keyId,
      ending: "finished",
      outcome: "finished",
      finish_reason: "stop",
      attempts: 2,
      failed_over: true,
      input_tokens: 100,
      cached_input_tokens: 50,
      output_tokens: 11,
      reasoning_tokens: 3,
      source: "backend",
      cost: "0.000335",
      cost_nanodollars: "335000",
      ttft_ms: 100,
      duration_ms: 600,
      output_tokens_per_second: 20,
    });
    await projected(account);
    expect(await list()).toEqual(atOnce);
  });

  it("joins what D1 has with what is newer, without a gap or a double", async () => {
    const old = await settle(account, price);
    await projected(account);
    const fresh = await settle(account, price);
    expect(idsOf(await list())).toEqual([fresh, old]);
  });

  it("gives pages by sequence, and what came after one", async () => {
    const ids: RequestId[] = [];
    for (let i = 0; i < 5; i++) {
      ids.unshift(await settle(account, price));
      if (i === 2) await projected(account);
    }
    const first = await list({ limit: 2 });
    expect([idsOf(first), first.matched]).toEqual([ids.slice(0, 2), 5]);
    const second = await list({ limit: 2, before: first.next_before });
    expect([idsOf(second), second.matched]).toEqual([ids.slice(2, 4), null]);
    const third = await list({ limit: 2, before: second.next_before });
    expect([idsOf(third), third.next_before]).toEqual([ids.slice(4), null]);

    expect(idsOf(await list({ after: first.newest }))).toEqual([]);
    const live = await settle(account, price);
    expect(idsOf(await list({ after: first.newest }))).toEqual([live]);
    expect(idsOf(await list({ after: 3 }))).toEqual([live, ...ids.slice(0, 3)]);
  });

  it("filters by outcome, model, region, key, backend and time to first token", async () => {
    const second: TestAccount = { ...account, ...(await addKey(account.object, account.id)) };
    const other = await sellModel("requests-other");
    const a = await settle(account, price, usageOf(1, 1), { region: "x", ttftMs: 10 });
    const b = await settle(second, price, usageOf(1, 1), { region: "y", ttftMs: 2_000, backend: "b2" });
    const c = await settle(account, other, usageOf(0, 0), { ending: "expired", ttftMs: null });
    const check = async () => {
      expect(idsOf(await list({ outcome: "failed" }))).toEqual([c]);
      expect(idsOf(await list({ outcome: "finished" }))).toEqual([b, a]);
      expect(idsOf(await list({ model: "requests-other" }))).toEqual([c]);
      expect(idsOf(await list({ region: "x" }))).toEqual([a]);
      expect(idsOf(await list({ key: second.keyId }))).toEqual([b]);
      expect(idsOf(await list({ backend: "b2" }))).toEqual([b]);
      expect(idsOf(await list({ min_ttft_ms: 1_000 }))).toEqual([b]);
      expect(idsOf(await list({ min_ttft_ms: 0 }))).toEqual([b, a]);
      expect(await list({ model: "' or 1=1 --" })).toMatchObject({ data: [], matched: 0 });
    };
    await check();
    await projected(account);
    await check();
  });

  it("finds a range of time among many events, to the millisecond", async () => {
    await history(40);
    const all = (await list({ limit: 100 })).data;
    const at = (i: number) => Date.parse(all[i].settled_at);
    const range = await list({ from: new Date(at(30)).toISOString(), to: new Date(at(10)).toISOString() });
    expect(range.data.map((row: any) => row.sequence)).toEqual(
      all.slice(11, 31).map((row: any) => row.sequence),
    );
    expect(range.matched).toBe(20);
    expect((await list({ to: "2020-01-01" })).data).toEqual([]);
    expect((await list({ from: "2100-01-01" })).data).toEqual([]);
  });

  it("adds what came late to its request, and does not list it by itself", async () => {
    const id = await settle(account, price, usageOf(0, 0), { ending: "expired" });
    await projected(account);
    await runInDurableObject(account.object, (_object: AccountObject, state) => {
      state.storage.sql.exec(
        `insert into journal select sequence + 1, 'adjustment', at, -300000, balance - 300000, reference, request_id, key_id,
          model, region, backend, ending, finish_reason, 100, 0, 10, 0, 'backend', price_id, held, admitted_at, null, null, attempts, null
         from journal order by sequence desc limit 1`,
      );
    });
    const { data } = await list();
    expect(data).toHaveLength(1);
    expect(data[0]).toMatchObject({ request_id: id, input_tokens: 100, output_tokens: 10, cost: "0.0003" });
  });

  it("shows as unknown, not as nothing, what a count is still awaited for", async () => {
    const id = await settle(account, price, usageOf(0, 0), { ending: "expired" });
    await runInDurableObject(account.object, (_object: AccountObject, state) => {
      state.storage.sql.exec(
        "insert into inquiries values (?, ?, 'b', 2, 1, 1, 1, 1, 1, 1, 0, ?)",
        id,
        attemptId(id, 1),
        Date.now() + HOUR_MS,
      );
    });
    const { data } = await list();
    expect(data[0]).toMatchObject({ input_tokens: null, output_tokens: null, source: null, cost: null });
    expect((await read("/v1/usage")).pending_count).toBe(1);
  });

  it("says where to go on when it has looked through enough without finding", async () => {
    await account.object.open(account.id);
    await history(3);
    // As many as one answer looks through lie between; written by SQL, one statement for all.
    await db.run(
      `insert into events (account, sequence, kind, at, amount, balance, model) with recursive n(i) as (select 4 union all select i + 1 from n where i < 10100)
       select '${account.id}', i, 'usage', 4000000000000 + i, 0, 0, 'filler' from n`,
    );
    const first = await list({ model: "m" });
    expect(first).toMatchObject({ data: [], matched: null, next_before: 101 });
    const second = await list({ model: "m", before: first.next_before });
    expect(second.data.map((row: any) => row.sequence)).toEqual([3, 2, 1]);
    expect(second.next_before).toBeNull();
  });

  it("refuses what it does not know, and names it", async () => {
    for (const [query, param] of [
      [{ limit: 101 }, "limit"],
      [{ limit: 0 }, "limit"],
      [{ before: -1 }, "before"],
      [{ before: 1, after: 1 }, "after"],
      [{ outcome: "won" }, "outcome"],
      [{ min_ttft_ms: -1 }, "min_ttft_ms"],
      [{ min_ttft_ms: "fast" }, "min_ttft_ms"],
      [{ from: "2026-02-02", to: "2026-02-01" }, "to"],
      [{ from: "then" }, "from"],
      [{ model: "" }, "model"],
    ] as const) {
      const answer = await list(query as Record<string, string>);
      expect({ query, status: answer.status, param: answer.error?.param }).toEqual({
        query,
        status: 400,
        param,
      });
    }
    expect((await list({ ordre: "asc" })).status).toBe(400);
  });

  it("gives text that would be a formula or a script elsewhere as it is, as JSON", async () => {
    const name = '=HYPERLINK("http://x")<script>alert(1)</script>';
    await history(1, () => ({ model: name }));
    const response = await edge("GET", "/v1/requests", account.key);
    expect(response.headers.get("content-type")).toMatch(/^application\/json/);
    expect(((await response.json()) as any).data[0].model).toBe(name);
  });
});

describe("GET /v1/requests/histogram", () => {
  const sum = (bars: number[]) => bars.reduce((all, one) => all + one, 0);

  it("counts by outcome, from rollups and what is newer, with the list's filters", async () => {
    await settle(account, price);
    await settle(account, price, usageOf(0, 0), { ending: "refused" });
    await projected(account);
    await settle(account, price, usageOf(1, 1), { ending: "client_left", region: "x" });
    const queries: Record<string, string | number>[] = [
      {},
      { from: String(Math.floor(Date.now() / 1_000) - 1_800) },
      { min_ttft_ms: 0 },
    ];
    for (const query of queries) {
      const { buckets, by_outcome, status } = await read("/v1/requests/histogram", query);
      expect(status).toBe(200);
      expect(Object.values(by_outcome).map((bars: any) => bars.length)).toEqual(
        Array(4).fill(buckets.length),
      );
      const sums = Object.fromEntries(
        Object.entries(by_outcome).map(([name, bars]) => [name, sum(bars as number[])]),
      );
      expect(sums).toEqual({ finished: 1, client_left: 1, failed: 0, refused: 1 });
    }
    const left = (await read("/v1/requests/histogram", { outcome: "client_left", region: "x" })).by_outcome;
    expect([sum(left.client_left), sum(left.finished)]).toEqual([1, 0]);
  });

  it("puts events into bars of time", async () => {
    await history(30, (i) => ({ ending: i % 3 === 0 ? "backend_failed" : "finished" }));
    const now = Date.now();
    const query = { from: new Date(now - 30 * MINUTE_MS).toISOString() };
    const { buckets, by_outcome } = await read("/v1/requests/histogram", query);
    expect(buckets.length).toBeGreaterThan(30);
    expect([sum(by_outcome.finished), sum(by_outcome.failed)]).toEqual([20, 10]);
    expect(Math.max(...by_outcome.finished, ...by_outcome.failed)).toBe(1);
  });

  it("refuses a thousand years", async () => {
    const answer = await read("/v1/requests/histogram", { from: "1970-01-01", to: "2199-01-01" });
    expect([answer.status, answer.error.param]).toEqual([400, "from"]);
    const { buckets } = await read("/v1/requests/histogram", {
      from: new Date(Date.now() - 365 * DAY_MS).toISOString(),
    });
    expect(buckets.length).toBeLessThanOrEqual(61);
  });
});

describe("GET /v1/requests/{id}", () => {
  const trace: TraceRecord = {
    at: Date.now() - 1_000,
    spans: [
      { name: "admit", start: 0, end: 4 },
      { name: "route", attempt: 1, start: 4, end: 5, outcome: "placed" },
      { name: "attempt", attempt: 1, start: 5, end: 105, outcome: "served" },
      { name: "first_token", attempt: 1, start: 105, end: 105 },
      { name: "decode", attempt: 1, start: 105, end: 600, outcome: "finished" },
    ],
    terms: ["queue", "price"],
    placements: [
      {
        attempt: 1,
        chosen: "bknd_test",
        candidates: [
          { backend: "bknd_test", region: "test-region", cost: 0.25, terms: [0.25] },
          { backend: "bknd_far", region: "far", cost: 0.5, terms: [0, 0.5] },
          { backend: "bknd_down", region: "far", excluded: "resting" },
        ],
      },
    ],
  };

  it("says what it cost by class, when each step was, and who else could have served", async () => {
    const id = await settle(account, price, usageOf(70, 20, { cachedInput: 31 }), { trace });
    const atOnce = await read(`/v1/requests/${answerId(id)}`);
    expect(atOnce).toMatchObject({
      status: 200,
      object: "request",
      id: answerId(id),
      request_id: id,
      state: "settled",
      journal_sequence: 2,
      prices: {
        id: price.id,
        effective_at: new Date(price.effectiveAt).toISOString(),
        input: "2000000000",
        cached_input: "500000000",
        output: "10000000000",
      },
      cost_nanodollars: "355500",
      cost_by_class: [
        {
          class: "input",
          tokens: 70,
          rate_nanodollars_per_million: "2000000000",
          cost_nanodollars: "140000",
        },
        { class: "cached_input", tokens: 31, cost_nanodollars: "15500" },
        { class: "output", tokens: 20, cost: "0.0002", cost_nanodollars: "200000" },
      ],
    });
    expect(
      atOnce.spans.map((span: any) => [span.name, span.attempt, span.start_ms, span.end_ms, span.outcome]),
    ).toEqual([
      ["admit", null, 0, 4, null],
      ["route", 1, 4, 5, "placed"],
      ["attempt", 1, 5, 105, "served"],
      ["first_token", 1, 105, 105, null],
      ["decode", 1, 105, 600, "finished"],
      ["settle", null, 600, Date.parse(atOnce.settled_at) - trace.at, null],
    ]);
    expect(atOnce.placements).toEqual([
      {
        attempt: 1,
        candidates: [
          {
            backend: "bknd_test",
            region: "test-region",
            terms: { queue: 0.25 },
            cost: 0.25,
            chosen: true,
            excluded_because: null,
          },
          {
            backend: "bknd_far",
            region: "far",
            terms: { price: 0.5 },
            cost: 0.5,
            chosen: false,
            excluded_because: null,
          },
          {
            backend: "bknd_down",
            region: "far",
            terms: {},
            cost: null,
            chosen: false,
            excluded_because: "resting",
          },
        ],
      },
    ]);
    await projected(account);
    expect(await read(`/v1/requests/${id}`)).toEqual(atOnce);
  });

  it("shows one that runs, and one without a trace", async () => {
    const open = await admit(account, price, { maxInput: 1_000, maxOutput: 100 });
    expect(await read(`/v1/requests/${open}`)).toMatchObject({
      status: 200,
      state: "open",
      journal_sequence: null,
      prices: null,
      cost_by_class: null,
      spans: [],
      placements: [],
    });
    const plain = await settle(account, price);
    expect(await read(`/v1/requests/${plain}`)).toMatchObject({
      state: "settled",
      spans: [],
      placements: [],
    });
  });

  it("is a 404 for what is unknown, another account's, or no id", async () => {
    const other = await openAccount();
    const theirs = await settle(other, price);
    for (const id of [newRequestId(), theirs, answerId(theirs), "nothing", "%27%20or%201=1"]) {
      const answer = await read(`/v1/requests/${id}`);
      expect([answer.status, answer.error.code]).toEqual([404, "not_found"]);
    }
  });
});
