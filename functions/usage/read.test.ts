/** What an account reads about itself, over HTTP. Rollups are written as the outbox would have, but for one test. */
import { runInDurableObject } from "cloudflare:test";
import fc from "fast-check";
import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { random } from "../../test/money/random.ts";
import {
  addKey,
  admit,
  db,
  drained,
  edge,
  env,
  openAccount,
  projected,
  sellModel,
  settle,
  type TestAccount,
  usageOf,
} from "../../test/support/worker.ts";
import { DAY_MS, HOUR_MS, QUARTER_HOUR_MS, quarterHourOf } from "../clock.ts";
import { rollups } from "../db/d1/schema.ts";
import { answerId, attemptId, newRequestId } from "../ids.ts";
import { nanodollars, type PriceVersion } from "../money.ts";
import type { AccountObject } from "../objects/account.ts";
import { EMPTY } from "./histogram.ts";
import { bucketStarts } from "./range.ts";

const NOON = Date.UTC(2026, 4, 31, 12);

let account: TestAccount;
beforeEach(async () => {
  account = await openAccount();
});

async function read(path: string, key = account.key): Promise<any> {
  const response = await edge("GET", path, key);
  const body = (await response.json()) as any;
  return { status: response.status, ...body };
}

const usage = (query: Record<string, string | number>) =>
  read(
    `/v1/usage?${new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]))}`,
  );

interface Row {
  at: number;
  model?: string;
  region?: string;
  backend?: string;
  key?: string;
  requests?: number;
  output?: number;
  cost?: number;
}

async function stored(rows: readonly Row[], of = account): Promise<void> {
  for (const { at, model, region, backend, key, requests, output, cost } of rows) {
    await db.insert(rollups).values({
      account: of.id,
      bucket: quarterHourOf(at),
      model: model ?? "m",
      region: region ?? "r",
      backend: backend ?? "b",
      keyId: (key ?? of.keyId) as `key_${string}`,
      requests: requests ?? 1,
      failures: 0,
      input: 0,
      cachedInput: 0,
      output: output ?? 0,
      reasoning: 0,
      cost: nanodollars(cost ?? 0),
      ttft: EMPTY,
      speed: EMPTY,
    });
  }
}

const seconds = (ms: number) => ms / 1_000;

describe("GET /v1/usage", () => {
  it("says what the ledger says once the outbox has brought it, by model, key and region", async () => {
    const [one, two] = [await sellModel("read-one"), await sellModel("read-two")];
    const second: TestAccount = { ...account, ...(await addKey(account.object, account.id)) };
    await settle(account, one, usageOf(100, 20, { cachedInput: 50, reasoning: 5 }), { region: "east" });
    await settle(account, two, usageOf(10, 2), { region: "west", ending: "backend_failed" });
    await settle(second, two, usageOf(1_000, 200), { region: "west" });
    await drained(account);
    const { balance_nanodollars } = await read("/v1/balance");

    const answer = await usage({});
    expect(answer.status).toBe(200);
    expect(answer.totals).toEqual({
      requests: 3,
      failures: 1,
      input_tokens: 1_110,
      cached_input_tokens: 50,
      output_tokens: 222,
      reasoning_tokens: 5,
      cost: "0.004465",
      cost_nanodollars: "4465000",
    });
    expect(BigInt(balance_nanodollars) + 4_465_000n).toBe(1_000_000_000_000n);
    expect(answer.pending_events).toBe(0);
    expect(answer.by_model.map(({ model, requests }: any) => [model, requests])).toEqual([
      ["read-one", 1],
      ["read-two", 2],
    ]);
    expect(new Map(answer.by_key.map(({ key, cost }: any) => [key, cost]))).toEqual(
      new Map([
        [account.keyId, "0.000465"],
        [second.keyId, "0.004"],
      ]),
    );
    expect(answer.by_region.map(({ region, failures }: any) => [region, failures])).toEqual([
      ["east", 0],
      ["west", 1],
    ]);
    const busy = answer.buckets.filter(({ requests }: any) => requests > 0);
    expect(
      busy
        .flatMap(({ by }: any) => by)
        .map(({ model, key, region }: any) => [model, key, region])
        .sort(),
    ).toEqual(
      [
        ["read-one", account.keyId, "east"],
        ["read-two", account.keyId, "west"],
        ["read-two", second.keyId, "west"],
      ].sort(),
    );
  });

  it("counts what D1 lacks, and does not make it up from the account's object", async () => {
    vi.spyOn(env.OUTBOX, "send").mockResolvedValue({} as never);
    await settle(account, await sellModel());
    const answer = await usage({});
    expect(answer.totals.requests).toBe(0);
    expect(answer.pending_events).toBe(2);
    vi.restoreAllMocks();
  });

  it("widens a range to whole quarter hours, and says so", async () => {
    await stored([
      { at: NOON },
      { at: NOON + QUARTER_HOUR_MS },
      { at: NOON + 2 * QUARTER_HOUR_MS },
      { at: NOON - 1 },
    ]);
    const wide = await usage({ from: seconds(NOON) + 1, to: seconds(NOON) + 901, bucket: "quarter_hour" });
    expect([wide.from, wide.to, wide.snapped]).toEqual([
      "2026-05-31T12:00:00.000Z",
      "2026-05-31T12:30:00.000Z",
      true,
    ]);
    expect(wide.totals.requests).toBe(2);
    const exact = await usage({ from: seconds(NOON), to: seconds(NOON) + 900, bucket: "quarter_hour" });
    expect([exact.to, exact.snapped, exact.totals.requests]).toEqual(["2026-05-31T12:15:00.000Z", false, 1]);
  });

  it("takes times as ISO 8601 in any zone, as dates, and as unix seconds", async () => {
    for (const [from, expected] of [
      ["2026-05-31T12:00:00Z", "2026-05-31T12:00:00.000Z"],
      ["2026-05-31T12:00:00.5+14:00", "2026-05-30T22:00:00.000Z"],
      ["2026-05-31T12:00:00-11:00", "2026-05-31T23:00:00.000Z"],
      ["2026-05-31", "2026-05-31T00:00:00.000Z"],
      [String(seconds(NOON)), "2026-05-31T12:00:00.000Z"],
    ] as const)
      expect((await usage({ from, to: "2026-06-02" })).from).toBe(expected);
  });

  it("is of the last 24 hours by the hour when nothing is said", async () => {
    const now = Date.now();
    await stored([{ at: now }, { at: now - DAY_MS + QUARTER_HOUR_MS }, { at: now - DAY_MS - HOUR_MS }]);
    const answer = await usage({});
    expect(answer.bucket).toBe("hour");
    expect(answer.totals.requests).toBe(2);
    expect(answer.buckets.length).toBeGreaterThanOrEqual(24);
  });

  it("gives every bucket, empty ones too; a range's edge cuts the first and the last", async () => {
    await stored([
      { at: NOON + 2 * QUARTER_HOUR_MS, output: 3 },
      { at: NOON + 5 * HOUR_MS, output: 4 },
    ]);
    const { buckets } = await usage({
      from: seconds(NOON + 2 * QUARTER_HOUR_MS),
      to: seconds(NOON + 5 * HOUR_MS) + 1,
      bucket: "hour",
    });
    expect(
      buckets.map(({ start, output_tokens, by }: any) => [start.slice(11, 16), output_tokens, by.length]),
    ).toEqual([
      ["12:30", 3, 1],
      ["13:00", 0, 0],
      ["14:00", 0, 0],
      ["15:00", 0, 0],
      ["16:00", 0, 0],
      ["17:00", 4, 1],
    ]);
  });

  it("filters by model, key and region", async () => {
    await stored([
      { at: NOON, model: "a", region: "x", key: "key_1", requests: 1 },
      { at: NOON, model: "a", region: "y", key: "key_2", requests: 10 },
      { at: NOON, model: "b", region: "y", key: "key_1", requests: 100 },
      { at: NOON, model: "b", region: "y", backend: "b2", key: "key_1", requests: 1_000 },
    ]);
    const range = { from: seconds(NOON), to: seconds(NOON + HOUR_MS) };
    const requests = async (filter: Record<string, string>) =>
      (await usage({ ...range, ...filter })).totals.requests;
    expect(await requests({})).toBe(1_111);
    expect(await requests({ model: "a" })).toBe(11);
    expect(await requests({ key: "key_1" })).toBe(1_101);
    expect(await requests({ region: "y", model: "b" })).toBe(1_100);
    expect(await requests({ model: "a' or '1'='1" })).toBe(0);
    // Two backends of one group are one group here.
    const { buckets } = await usage({ ...range, model: "b" });
    expect(buckets[0].by).toMatchObject([{ model: "b", key: "key_1", region: "y", requests: 1_100 }]);
  });

  it("is exact where a sum passes 2^53", async () => {
    const most = Number.MAX_SAFE_INTEGER;
    const times = [0, 1, 2].map((i) => NOON + i * QUARTER_HOUR_MS);
    await stored(times.map((at) => ({ at, cost: most, output: most })));
    const answer = await usage({ from: seconds(NOON), to: seconds(NOON + HOUR_MS) });
    expect(answer.totals).toMatchObject({
      cost_nanodollars: "27021597764222973",
      cost: "27021597.764222973",
      output_tokens: "27021597764222973",
      requests: 3,
    });
    expect(answer.buckets[0].cost_nanodollars).toBe("27021597764222973");
  });

  it("shows an account nothing of another", async () => {
    await stored([{ at: NOON, requests: 7 }], await openAccount());
    expect((await usage({ from: seconds(NOON), to: seconds(NOON + HOUR_MS) })).totals.requests).toBe(0);
  });

  it("has totals that are the sums of every cut of the same range, whatever the buckets", async () => {
    const row = fc.record({
      at: fc.integer({ min: 0, max: 3 * 96 - 1 }).map((quarter) => NOON + quarter * QUARTER_HOUR_MS),
      model: fc.constantFrom("a", "b"),
      region: fc.constantFrom("x", "y"),
      requests: fc.nat({ max: 9 }),
      cost: fc.nat({ max: 2 ** 40 }),
    });
    const unique = (rows: Row[]) => [
      ...new Map(rows.map((row) => [`${row.at} ${row.model} ${row.region}`, row])).values(),
    ];
    const cut = fc.integer({ min: 0, max: 3 * 96 }).map((quarter) => NOON + quarter * QUARTER_HOUR_MS);
    await fc.assert(
      fc.asyncProperty(
        fc.array(row, { maxLength: 20 }),
        fc.constantFrom("quarter_hour", "hour", "day"),
        cut,
        async (rows, bucket, middle) => {
          account = await openAccount("0");
          const kept = unique(rows);
          await stored(kept);
          const sum = (from: number, to: number) =>
            kept
              .filter(({ at }) => from <= at && at < to)
              .reduce((total, { cost }) => total + BigInt(cost!), 0n);
          const end = NOON + 3 * DAY_MS;
          let total = 0n;
          for (const [from, to] of [
            [NOON, middle],
            [middle, end],
          ] as const) {
            const answer = await usage({ from: seconds(from), to: seconds(to), bucket });
            expect(BigInt(answer.totals.cost_nanodollars)).toBe(sum(from, to));
            for (const list of [answer.buckets, answer.by_model, answer.by_region, answer.by_key])
              expect(list.reduce((all: bigint, one: any) => all + BigInt(one.cost_nanodollars), 0n)).toBe(
                sum(from, to),
              );
            for (const one of answer.buckets)
              expect(one.by.reduce((all: number, group: any) => all + group.requests, 0)).toBe(one.requests);
            total += BigInt(answer.totals.cost_nanodollars);
          }
          expect(total).toBe(sum(NOON, end));
        },
      ),
      random("usage cuts", 15),
    );
  });

  it("refuses what is no range, no bucket and no parameter, and names it", async () => {
    for (const [query, param] of [
      [{ from: "yesterday" }, "from"],
      [{ from: "-1" }, "from"],
      [{ from: "2026-13-01" }, "from"],
      [{ to: "2026-05-31T12:00:00" }, "to"],
      [{ to: String(NOON) }, "to"],
      [{ from: seconds(NOON), to: seconds(NOON) - 1 }, "to"],
      [{ from: "2020-01-01", to: "2026-01-01", bucket: "day" }, "from"],
      [{ from: "2026-01-01", to: "2026-12-01", bucket: "quarter_hour" }, "bucket"],
      [{ from: "2026-01-01", to: "2026-06-01", bucket: "hour" }, "bucket"],
      [{ bucket: "minute" }, "bucket"],
      [{ model: "" }, "model"],
    ] as const) {
      const answer = await usage(query as Record<string, string>);
      expect({ query, status: answer.status, param: answer.error?.param }).toEqual({
        query,
        status: 400,
        param,
      });
    }
    expect(await usage({ form: "2026-01-01" })).toMatchObject({
      status: 400,
      error: { message: expect.stringContaining("form") },
    });
    expect((await edge("GET", "/v1/usage")).status).toBe(401);
  });

  it("serves the longest range: a year by the day, a month by the quarter hour", async () => {
    expect((await usage({ from: "2025-01-01", to: "2026-01-01", bucket: "day" })).buckets).toHaveLength(365);
    expect(
      (await usage({ from: "2026-01-01", to: "2026-02-01", bucket: "quarter_hour" })).buckets,
    ).toHaveLength(2_976);
  });
});

describe("bucketStarts", () => {
  it("covers a range without a gap, each bucket within one of the clock", () => {
    const quarter = fc.nat({ max: 1e6 }).map((n) => n * QUARTER_HOUR_MS);
    const sizes = fc.constantFrom(["quarter_hour", QUARTER_HOUR_MS], ["hour", HOUR_MS], ["day", DAY_MS]);
    fc.assert(
      fc.property(quarter, fc.nat({ max: 500 }), sizes, (from, quarters, [bucket, size]) => {
        const to = from + quarters * QUARTER_HOUR_MS;
        const starts = bucketStarts(from, to, bucket as "hour");
        expect(starts.length > 0).toBe(quarters > 0);
        for (const [i, start] of starts.entries()) {
          const end = starts[i + 1] ?? to;
          expect(Math.floor(start / (size as number))).toBe(Math.floor((end - 1) / (size as number)));
          if (i === 0) expect(start).toBe(from);
          else expect(start % (size as number)).toBe(0);
        }
      }),
      random("buckets", 300),
    );
  });
});

describe("GET /v1/generation", () => {
  let price: PriceVersion;
  beforeAll(async () => {
    price = await sellModel("generation-model");
  });
  const generation = (id: string, key?: string) => read(`/v1/generation?id=${encodeURIComponent(id)}`, key);

  it("shows a request while it runs, with what it holds", async () => {
    const id = await admit(account, price, { maxInput: 1_000, maxOutput: 100 });
    expect(await generation(id)).toMatchObject({
      status: 200,
      id: answerId(id),
      request_id: id,
      state: "open",
      model: "generation-model",
      key: account.keyId,
      usage: null,
      cost: null,
      held: "0.003",
      held_nanodollars: "3000000",
      settled_at: null,
    });
  });

  it("is the same at once, from the account's object, and later, from D1", async () => {
    const id = await settle(account, price, usageOf(70, 20, { cachedInput: 30, reasoning: 8 }), {
      ending: "client_left",
      finishReason: null,
    });
    const atOnce = await generation(answerId(id));
    expect(atOnce).toMatchObject({
      status: 200,
      id: answerId(id),
      request_id: id,
      state: "settled",
      region: "test-region",
      backend: "bknd_test",
      ending: "client_left",
      finish_reason: null,
      usage: {
        prompt_tokens: 100,
        cached_tokens: 30,
        completion_tokens: 20,
        reasoning_tokens: 8,
        source: "backend",
      },
      cost: "0.000355",
      cost_nanodollars: "355000",
      price: price.id,
      attempts: [{ id: attemptId(id, 1), outcome: "served" }],
      ttft_ms: 100,
      duration_ms: 600,
      adjustments: [],
    });
    expect(Date.parse(atOnce.admitted_at)).toBeLessThanOrEqual(Date.parse(atOnce.settled_at));
    await projected(account);
    expect(await account.object.request(id)).toBeUndefined();
    expect(await generation(id)).toEqual(atOnce);
  });

  it("adds what came late, and shows it", async () => {
    const id = await settle(account, price, usageOf(0, 0), { ending: "expired" });
    await projected(account);
    // As objects/expiry.ts posts a late count.
    await runInDurableObject(account.object, (_object: AccountObject, state) => {
      state.storage.sql.exec(
        `insert into journal select sequence + 1, 'adjustment', at, -300000, balance - 300000, reference, request_id, key_id,
          model, region, backend, ending, finish_reason, 100, 0, 10, 0, 'backend', price_id, held, admitted_at, null, null, attempts
         from journal order by sequence desc limit 1`,
      );
    });
    expect(await generation(id)).toMatchObject({
      ending: "expired",
      usage: { prompt_tokens: 100, completion_tokens: 10 },
      cost: "0.0003",
      adjustments: [
        { prompt_tokens: 100, completion_tokens: 10, cost_nanodollars: "300000", source: "backend" },
      ],
    });
  });

  it("is a 404 for an unknown request and for another account's, and the two look the same", async () => {
    const other = await openAccount();
    const theirs = await settle(other, price);
    const open = await admit(other, price);
    await projected(other);
    for (const id of [newRequestId(), theirs, answerId(theirs), open]) {
      const answer = await generation(id);
      expect({ status: answer.status, ...answer.error, message: "" }).toEqual({
        status: 404,
        type: "not_found_error",
        code: "not_found",
        param: "id",
        message: "",
      });
    }
  });

  it("refuses what is no id", async () => {
    for (const id of ["", "chatcmpl-", "req_x", `${newRequestId()}.1`, "' or 1=1"]) {
      const answer = await generation(id);
      expect([answer.status, answer.error.param]).toEqual([400, "id"]);
    }
    expect((await read("/v1/generation")).status).toBe(400);
  });
});

describe("GET /v1/balance", () => {
  it("shows balance, what is held and what is left, exactly", async () => {
    const price = await sellModel();
    await settle(account, price, usageOf(1, 0));
    await admit(account, price, { maxInput: 500, maxOutput: 0 });
    expect(await read("/v1/balance")).toEqual({
      status: 200,
      object: "balance",
      budgets: { day: null, month: null },
      balance: "999.999998",
      balance_nanodollars: "999999998000",
      held: "0.001",
      held_nanodollars: "1000000",
      available: "999.998998",
      available_nanodollars: "999998998000",
    });
  });
});
