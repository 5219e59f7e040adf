/** GET /v1/usage over HTTP. Rollups are written as the outbox would have, but where a test says otherwise. */
import fc from "fast-check";
import { beforeEach, describe, expect, it, vi } from "vitest";
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
import { DAY_MS, HOUR_MS, MINUTE_MS, QUARTER_HOUR_MS, quarterHourOf } from "../clock.ts";
import { fleetEvents, rollups } from "../db/d1/schema.ts";
import { attemptId, newRequestId } from "../ids.ts";
import { nanodollars } from "../money.ts";
import { EMPTY, type Histogram, histogramOf } from "./histogram.ts";

const NOON = Date.UTC(2026, 4, 31, 12);

let account: TestAccount;
beforeEach(async () => {
  account = await openAccount();
});

async function usage(query: Record<string, string | number>, key = account.key): Promise<any> {
  const text = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
  const response = await edge("GET", `/v1/usage?${text}`, key);
  return { status: response.status, ...((await response.json()) as any) };
}

interface Row {
  at: number;
  model?: string;
  region?: string;
  backend?: string;
  key?: string;
  requests?: number;
  failures?: number;
  clientLeft?: number;
  refused?: number;
  failedOver?: number;
  input?: number;
  cachedInput?: number;
  output?: number;
  cost?: number;
  ttft?: Histogram;
  speed?: Histogram;
}

async function stored(rows: readonly Row[], of = account): Promise<void> {
  for (const { at, model, region, backend, key, requests, cost, ...more } of rows) {
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
      output: 0,
      reasoning: 0,
      cost: nanodollars(cost ?? 0),
      ttft: EMPTY,
      speed: EMPTY,
      ...more,
    });
  }
}

const seconds = (ms: number) => ms / 1_000;
const sumOf = (values: readonly string[]) => values.reduce((sum, value) => sum + BigInt(value), 0n);

describe("GET /v1/usage", () => {
  it("says what the ledger says once the outbox has brought it, by model", async () => {
    const [one, two] = [await sellModel("read-one"), await sellModel("read-two")];
    const second: TestAccount = { ...account, ...(await addKey(account.object, account.id)) };
    await settle(account, one, usageOf(100, 20, { cachedInput: 50, reasoning: 5 }), { region: "east" });
    await settle(account, two, usageOf(10, 2), { region: "west", ending: "backend_failed" });
    await settle(second, two, usageOf(1_000, 200), { region: "west" });
    await drained(account);
    const { balance } = await account.object.balance();

    const answer = await usage({ group_by: "model", bucket: "quarter_hour" });
    expect(answer.status).toBe(200);
    expect(answer.totals).toEqual({
      requests: 3,
      failures: 1,
      finished: 2,
      client_left: 0,
      failed: 1,
      refused: 0,
      failed_over: 0,
      input_tokens: 1_110,
      cached_input_tokens: 50,
      output_tokens: 222,
      reasoning_tokens: 5,
      cost: "0.004465",
      cost_nanodollars: "4465000",
      ttft_ms: { p50: expect.closeTo(100, -1), p95: expect.closeTo(100, -1), p99: expect.closeTo(100, -1) },
      output_tokens_per_second: { p5: expect.any(Number), p50: expect.any(Number) },
      cache_share: 50 / 1_160,
    });
    expect(BigInt(balance) + 4_465_000n).toBe(1_000_000_000_000n);
    expect(answer.as_of).toMatchObject({ journal_sequence: 4, projected_sequence: 4, pending_events: 0 });
    expect(answer.groups.map(({ id, totals }: any) => [id, totals.requests])).toEqual([
      ["read-two", 2],
      ["read-one", 1],
    ]);
    expect(answer.running_bucket).toBe(true);
    expect(answer.series.requests.at(-1)).toBe(3);
  });

  it("groups by region, backend and key", async () => {
    await stored([
      { at: NOON, region: "x", backend: "b1", key: "key_1", cost: 1 },
      { at: NOON, region: "x", backend: "b2", key: "key_2", cost: 10 },
      { at: NOON, region: "y", backend: "b3", key: "key_2", cost: 100 },
    ]);
    const range = { from: seconds(NOON), to: seconds(NOON + HOUR_MS) };
    const by = async (group_by: string) =>
      (await usage({ ...range, group_by })).groups.map(({ id, totals }: any) => [
        id,
        totals.cost_nanodollars,
      ]);
    expect(await by("region")).toEqual([
      ["y", "100"],
      ["x", "11"],
    ]);
    expect(await by("backend")).toEqual([
      ["b3", "100"],
      ["b2", "10"],
      ["b1", "1"],
    ]);
    expect(await by("key")).toEqual([
      ["key_2", "110"],
      ["key_1", "1"],
    ]);
    expect(await usage(range)).toMatchObject({ group_by: null, groups: [], other: null });
  });

  it("names the twenty that cost most, and sums the rest as other", async () => {
    const names = Array.from({ length: 23 }, (_, i) => `m${String(i).padStart(2, "0")}`);
    await stored(names.map((model, i) => ({ at: NOON + (i % 2) * HOUR_MS, model, cost: 1_000 + i })));
    const answer = await usage({
      from: seconds(NOON),
      to: seconds(NOON + 2 * HOUR_MS),
      group_by: "model",
      compare: "previous",
    });
    expect(answer.groups.map(({ id }: any) => id)).toEqual(names.slice(3).reverse());
    expect(answer.other).toMatchObject({ totals: { requests: 3, cost_nanodollars: "3003" } });
    expect(answer.other.series.cost_nanodollars).toEqual(["2002", "1001"]);
    expect(answer.other.previous.requests).toBe(0);
    expect(answer.totals.requests).toBe(23);
  });

  it("says how requests ended; those that neither failed, were refused nor left have finished", async () => {
    await stored([
      { at: NOON, requests: 10, failures: 1, clientLeft: 2, refused: 3, failedOver: 4 },
      { at: NOON + HOUR_MS, requests: 5, failures: 5 },
    ]);
    const answer = await usage({ from: seconds(NOON), to: seconds(NOON + 2 * HOUR_MS), bucket: "hour" });
    expect(answer.totals).toMatchObject({
      requests: 15,
      finished: 4,
      client_left: 2,
      failed: 6,
      refused: 3,
      failed_over: 4,
    });
    expect(answer.series.finished).toEqual([4, 0]);
    expect(answer.series.failed).toEqual([1, 5]);
  });

  it("counts outcomes from journal rows: left, refused, failed over", async () => {
    const price = await sellModel();
    const record = (n: number) => ({
      id: attemptId(newRequestId(), n),
      backend: "b",
      region: "r",
      outcome: "served" as const,
      ms: 1,
    });
    await settle(account, price, usageOf(1, 1), { ending: "client_left" });
    await settle(account, price, usageOf(0, 0), { ending: "refused", attempts: [record(1), record(2)] });
    await settle(account, price, usageOf(1, 1), { attempts: [record(1), record(2), record(3)] });
    await settle(account, price, usageOf(0, 0), { ending: "deadline", attempts: [] });
    await projected(account);
    expect((await usage({})).totals).toMatchObject({
      requests: 4,
      finished: 1,
      client_left: 1,
      refused: 1,
      failed: 1,
      failed_over: 2,
    });
  });

  it("says what is not in it yet: on the way, running, and awaiting its count", async () => {
    vi.spyOn(env.OUTBOX, "send").mockResolvedValue({} as never);
    const before = Date.now();
    const price = await sellModel();
    await settle(account, price);
    await admit(account, price, { maxInput: 1_000, maxOutput: 100 });
    const answer = await usage({});
    expect(answer.totals.requests).toBe(0);
    expect(answer.as_of).toMatchObject({ journal_sequence: 2, projected_sequence: 0, pending_events: 2 });
    // The opening credit is the first entry that D1 lacks.
    expect(Date.parse(answer.as_of.settled_through)).toBeLessThanOrEqual(before);
    expect(answer.open).toEqual({ requests: 1, held: "0.003", held_nanodollars: "3000000" });
    expect(answer.pending_count).toBe(0);
    vi.restoreAllMocks();
  });

  it("compares with the period before: as long, or as many of the zone's days", async () => {
    await stored([
      { at: NOON, cost: 5 },
      { at: NOON - HOUR_MS, cost: 7 },
    ]);
    const hour = { from: seconds(NOON), to: seconds(NOON + HOUR_MS), group_by: "model" };
    const answer = await usage({ ...hour, compare: "previous" });
    expect(answer.previous).toMatchObject({
      from: "2026-05-31T11:00:00.000Z",
      to: "2026-05-31T12:00:00.000Z",
      totals: { cost_nanodollars: "7" },
    });
    expect(answer.groups[0].previous.cost_nanodollars).toBe("7");
    expect((await usage(hour)).previous).toBeNull();
    // Summer time began on 29 March in Vienna: seven days are 167 hours, the seven before are 168.
    const week = { from: "2026-03-25", to: "2026-04-01", bucket: "day", time_zone: "Europe/Vienna" };
    const { from, previous, buckets } = await usage({ ...week, compare: "previous" });
    expect([from, previous.from, previous.to]).toEqual([
      "2026-03-24T23:00:00.000Z",
      "2026-03-17T23:00:00.000Z",
      "2026-03-24T23:00:00.000Z",
    ]);
    expect([buckets.length, previous.buckets.length]).toEqual([7, 7]);
  });

  it("merges histograms over buckets and groups, and never averages a percentile", async () => {
    const fast = histogramOf(Array.from({ length: 99 }, () => 100));
    const slow = histogramOf(Array.from({ length: 9 }, () => 10_000));
    await stored([
      { at: NOON, model: "a", ttft: fast, speed: histogramOf([50]) },
      { at: NOON + HOUR_MS, model: "b", ttft: slow },
    ]);
    const answer = await usage({
      from: seconds(NOON),
      to: seconds(NOON + 3 * HOUR_MS),
      bucket: "hour",
      group_by: "model",
    });
    const { p50, p95, p99 } = answer.totals.ttft_ms;
    expect(p50 / 100).toBeCloseTo(1, 0);
    expect(p95 / 10_000).toBeCloseTo(1, 0);
    expect(p99 / 10_000).toBeCloseTo(1, 0);
    expect(answer.series.ttft_ms.map((one: any) => one && Math.round(one.p99 / 1_000))).toEqual([
      0,
      10,
      null,
    ]);
    expect(answer.series.output_tokens_per_second[1]).toBeNull();
    expect(answer.totals.output_tokens_per_second.p50 / 50).toBeCloseTo(1, 0);
    expect(answer.totals.cache_share).toBeNull();
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
    expect(exact.running_bucket).toBe(false);
  });

  it("takes times as ISO 8601 in any zone, as dates of the reporting zone, and as unix seconds", async () => {
    for (const [from, time_zone, expected] of [
      ["2026-05-31T12:00:00Z", "UTC", "2026-05-31T12:00:00.000Z"],
      ["2026-05-31T12:00:00.5+14:00", "UTC", "2026-05-30T22:00:00.000Z"],
      ["2026-05-31T12:00:00-11:00", "UTC", "2026-05-31T23:00:00.000Z"],
      ["2026-05-31", "UTC", "2026-05-31T00:00:00.000Z"],
      ["2026-05-31", "Asia/Kolkata", "2026-05-30T18:30:00.000Z"],
      [String(seconds(NOON)), "Asia/Kolkata", "2026-05-31T12:00:00.000Z"],
    ] as const)
      expect((await usage({ from, to: "2026-06-02", time_zone })).from).toBe(expected);
  });

  it("is of the last 24 hours by the hour when nothing is said, and by the day where hours are too many", async () => {
    const now = Date.now();
    await stored([{ at: now }, { at: now - DAY_MS + QUARTER_HOUR_MS }, { at: now - DAY_MS - HOUR_MS }]);
    const answer = await usage({});
    expect([answer.bucket, answer.time_zone]).toEqual(["hour", "UTC"]);
    expect(answer.totals.requests).toBe(2);
    expect(answer.buckets.length).toBeGreaterThanOrEqual(24);
    expect((await usage({ from: "2026-05-01", to: "2026-06-01" })).bucket).toBe("day");
  });

  it("cuts buckets at the zone's own hours and days", async () => {
    await stored([{ at: Date.UTC(2026, 4, 31, 18, 15) }, { at: Date.UTC(2026, 4, 31, 18, 30) }]);
    const range = { from: "2026-05-31T18:00:00Z", to: "2026-05-31T20:00:00Z" };
    const india = await usage({ ...range, bucket: "day", time_zone: "Asia/Kolkata" });
    expect(india.buckets).toEqual(["2026-05-31T18:00:00.000Z", "2026-05-31T18:30:00.000Z"]);
    expect(india.series.requests).toEqual([1, 1]);
    const nepal = await usage({ ...range, bucket: "hour", time_zone: "Asia/Kathmandu" });
    expect(nepal.buckets.map((start: string) => start.slice(11, 16))).toEqual(["18:00", "18:15", "19:15"]);
    expect(nepal.series.requests).toEqual([0, 2, 0]);
  });

  it("filters by model, key, region and backend", async () => {
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
    expect(await requests({ backend: "b2" })).toBe(1_000);
    expect(await requests({ model: "a' or '1'='1" })).toBe(0);
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
    expect(answer.series.cost_nanodollars).toEqual(["27021597764222973"]);
  });

  it("shows an account nothing of another", async () => {
    await stored([{ at: NOON, requests: 7 }], await openAccount());
    expect((await usage({ from: seconds(NOON), to: seconds(NOON + HOUR_MS) })).totals.requests).toBe(0);
  });

  it("has the same sum whatever the zone, the buckets and the groups, over every cut of a range", async () => {
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
    const zone = fc.constantFrom(
      "UTC",
      "Pacific/Kiritimati",
      "Pacific/Pago_Pago",
      "Asia/Kathmandu",
      "Australia/Lord_Howe",
      "America/St_Johns",
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(row, { maxLength: 20 }),
        fc.constantFrom("quarter_hour", "hour", "day"),
        fc.constantFrom("model", "region", "backend", "key"),
        zone,
        cut,
        async (rows, bucket, group_by, time_zone, middle) => {
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
            const query = { from: seconds(from), to: seconds(to), bucket, time_zone, group_by };
            const answer = await usage(query);
            expect(BigInt(answer.totals.cost_nanodollars)).toBe(sum(from, to));
            expect(sumOf(answer.series.cost_nanodollars)).toBe(sum(from, to));
            expect(sumOf(answer.groups.map((group: any) => group.totals.cost_nanodollars))).toBe(
              sum(from, to),
            );
            for (const { totals, series } of answer.groups)
              expect(sumOf(series.cost_nanodollars)).toBe(BigInt(totals.cost_nanodollars));
            total += BigInt(answer.totals.cost_nanodollars);
          }
          expect(total).toBe(sum(NOON, end));
        },
      ),
      random("usage cuts", 12),
    );
  });

  it("refuses what is no range, no bucket, no zone and no parameter, and names it", async () => {
    for (const [query, param] of [
      [{ from: "yesterday" }, "from"],
      [{ from: "-1" }, "from"],
      [{ from: "2026-13-01" }, "from"],
      [{ to: "2026-05-31T12:00:00" }, "to"],
      [{ to: String(NOON) }, "to"],
      [{ from: "2026-01-01", to: "3026-01-01" }, "to"],
      [{ from: seconds(NOON), to: seconds(NOON) - 1 }, "to"],
      [{ from: "1970-01-01", to: "2170-01-01", bucket: "day" }, "from"],
      [{ from: "2026-01-01", to: "2026-01-10", bucket: "quarter_hour" }, "bucket"],
      [{ from: "2026-01-01", to: "2026-02-01", bucket: "hour" }, "bucket"],
      [{ bucket: "minute" }, "bucket"],
      [{ time_zone: "Mars/Olympus" }, "time_zone"],
      [{ time_zone: "+05:17" }, "time_zone"],
      [{ time_zone: "" }, "time_zone"],
      [{ group_by: "account" }, "group_by"],
      [{ compare: "last_year" }, "compare"],
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

  it("serves the longest range: a year by the day, and no more than 400 buckets", async () => {
    expect((await usage({ from: "2025-01-01", to: "2026-01-01", bucket: "day" })).buckets).toHaveLength(365);
    expect(
      (
        await usage({
          from: "2026-01-01",
          to: seconds(Date.UTC(2026, 0, 1) + 400 * QUARTER_HOUR_MS),
          bucket: "quarter_hour",
        })
      ).buckets,
    ).toHaveLength(400);
  });

  it("marks where a price changed", async () => {
    const price = await sellModel("marked-model");
    const answer = await usage({ to: seconds(quarterHourOf(Date.now()) + QUARTER_HOUR_MS) });
    expect(answer.marks).toContainEqual({
      at: new Date(price.effectiveAt).toISOString(),
      kind: "price",
      label: "marked-model: price",
    });
    expect((await usage({ from: seconds(NOON), to: seconds(NOON) + 60 * MINUTE_MS })).marks).toEqual([]);
  });

  it("marks where a region went down and came back, and a region's own where one is asked for", async () => {
    const later = { at: NOON + 5 * MINUTE_MS, region: "fallen", backend: null, message: "" };
    await db.insert(fleetEvents).values([
      { ...later, id: 1, at: NOON, kind: "region.down" },
      { ...later, id: 2, backend: "bknd_x", kind: "backend.recovered" },
      { ...later, id: 3, kind: "region.recovered" },
      { ...later, id: 4, kind: "region.down", region: "another" },
      { ...later, id: 5, at: NOON + 60 * MINUTE_MS, kind: "region.down" },
    ]);
    const range = { from: seconds(NOON), to: seconds(NOON + 60 * MINUTE_MS) };
    const own = [
      { at: new Date(NOON).toISOString(), kind: "region.down", label: "fallen: down" },
      { at: new Date(later.at).toISOString(), kind: "region.recovered", label: "fallen: recovered" },
    ];
    const another = { at: own[1]!.at, kind: "region.down", label: "another: down" };
    expect((await usage(range)).marks).toEqual([...own, another]);
    expect((await usage({ ...range, region: "fallen" })).marks).toEqual(own);
    await db.delete(fleetEvents);
  });
});
