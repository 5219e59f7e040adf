/**
 * Any range of /v1/usage equals the ledger to the nanodollar, in any zone and any cut; and no route that reads usage
 * looks at more than the range that it was asked for.
 */
import { runInDurableObject } from "cloudflare:test";
import fc from "fast-check";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { random } from "../../test/money/random.ts";
import {
  addKey,
  edge,
  env,
  openAccount,
  projected,
  sellModel,
  settle,
  type TestAccount,
  usageOf,
} from "../../test/support/worker.ts";
import { DAY_MS, QUARTER_HOUR_MS } from "../clock.ts";
import type { AccountObject } from "../objects/account.ts";

const ENTRIES = 60;
const FIRST = Date.UTC(2026, 2, 10, 5, 7, 11, 3);
const DAYS = 45;

let account: TestAccount;
beforeAll(async () => {
  account = await openAccount();
  const keys = [account, { ...account, ...(await addKey(account.object, account.id)) }];
  const prices = [await sellModel("range-one"), await sellModel("range-two")];
  for (let i = 0; i < ENTRIES; i++) {
    const usage = usageOf(1 + ((i * 7_919) % 5_000), (i * 104_729) % 300, { cachedInput: (i * 31) % 400 });
    const ending = i % 11 === 3 ? "client_left" : "finished";
    await settle(keys[i % 2]!, prices[i % 3 === 0 ? 1 : 0]!, usage, {
      ending,
      region: i % 5 ? "east" : "west",
    });
  }
  // Spread over weeks in which the clocks of Europe and of Lord Howe change; in the journal's own order.
  await runInDurableObject(account.object, (_object: AccountObject, state) => {
    state.storage.sql.exec(
      "update journal set at = ?1 + sequence * ?2 + (sequence * 7919) % 600000",
      FIRST,
      Math.floor((DAYS * DAY_MS) / ENTRIES),
    );
  });
  await projected(account);
});
afterEach(() => vi.restoreAllMocks());

async function read(path: string): Promise<any> {
  const response = await edge("GET", path, account.key);
  return { status: response.status, ...((await response.json()) as any) };
}

/** The journal as its own route lists it. */
async function ledger(): Promise<{ at: number; kind: string; amount: bigint; model: string; key: string }[]> {
  const rows: any[] = [];
  for (let before: number | null = Number.MAX_SAFE_INTEGER; before !== null; ) {
    const page: any = await read(`/v1/journal?limit=100&before=${before}`);
    rows.push(...page.data);
    before = page.next_before;
  }
  return rows.map(({ at, amount_nanodollars, ...row }) => ({
    ...row,
    at: Date.parse(at),
    amount: BigInt(amount_nanodollars),
  }));
}

const sum = (values: readonly string[]) => values.reduce((all, value) => all + BigInt(value), 0n);

describe("any range of usage", () => {
  it("equals the ledger and the list of its requests, in every zone and cut", async () => {
    const journal = (await ledger()).filter(({ kind }) => kind !== "credit");
    expect(journal).toHaveLength(ENTRIES);
    const quarter = fc.integer({ min: -96, max: (DAYS + 2) * 96 });
    await fc.assert(
      fc.asyncProperty(
        quarter,
        quarter,
        fc.constantFrom(
          "UTC",
          "Pacific/Kiritimati",
          "Pacific/Pago_Pago",
          "Europe/Vienna",
          "Australia/Lord_Howe",
          "Asia/Kathmandu",
        ),
        fc.constantFrom("hour", "day", undefined),
        fc.constantFrom("model", "key", "region", undefined),
        fc.constantFrom("range-one", undefined),
        async (a, b, time_zone, bucket, group_by, model) => {
          const base = Math.floor(FIRST / QUARTER_HOUR_MS) * QUARTER_HOUR_MS;
          const [from, to] = [Math.min(a, b), Math.max(a, b)].map((n) => base + n * QUARTER_HOUR_MS) as [
            number,
            number,
          ];
          const iso = (ms: number) => new Date(ms).toISOString();
          const query = new URLSearchParams({ from: iso(from), to: iso(to), time_zone });
          if (bucket && !(bucket === "hour" && to - from > 16 * DAY_MS)) query.set("bucket", bucket);
          if (group_by) query.set("group_by", group_by);
          if (model) query.set("model", model);
          const answer = await read(`/v1/usage?${query}`);
          const entries = journal.filter(
            (row) => from <= row.at && row.at < to && (model === undefined || row.model === model),
          );
          const charged = -entries.reduce((all, { amount }) => all + amount, 0n);
          expect(BigInt(answer.totals.cost_nanodollars)).toBe(charged);
          expect(answer.totals.requests).toBe(entries.length);
          expect(sum(answer.series.cost_nanodollars)).toBe(charged);
          if (group_by)
            expect(sum(answer.groups.map((group: any) => group.totals.cost_nanodollars))).toBe(charged);

          const listed = new URLSearchParams({ from: iso(from), to: iso(to), limit: "100" });
          if (model) listed.set("model", model);
          const requests = await read(`/v1/requests?${listed}`);
          expect(sum(requests.data.map((row: any) => row.cost_nanodollars))).toBe(charged);
          expect(requests.matched).toBe(entries.length);
        },
      ),
      random("ledger ranges", 30),
    );
  });
});

describe("every statement of the routes that read usage", () => {
  it("searches rollups and events by their keys, and never scans them", async () => {
    const prepared = new Set<string>();
    const prepare = env.DB.prepare.bind(env.DB);
    vi.spyOn(env.DB, "prepare").mockImplementation((text) => {
      prepared.add(text);
      return prepare(text);
    });
    const range = "from=2026-03-10&to=2026-04-20";
    for (const path of [
      `/v1/usage?${range}&group_by=model&compare=previous&model=range-one&key=key_1`,
      `/v1/usage?${range}&time_zone=Asia/Kolkata`,
      `/v1/requests?${range}&outcome=failed&model=range-one&min_ttft_ms=5`,
      "/v1/requests?before=30",
      "/v1/requests?after=30",
      `/v1/requests/histogram?${range}`,
      `/v1/requests/histogram?${range}&min_ttft_ms=5`,
      `/v1/requests/req_01ARZ3NDEKTSV4RRFFQ69G5FAV`,
      "/v1/journal?before=30",
      "/v1/balance",
    ])
      await edge("GET", path, account.key).then((response) => response.body?.cancel());
    vi.restoreAllMocks();

    const plans = new Map<string, string[]>();
    for (const text of prepared) {
      if (!/"(events|rollups)"/.test(text)) continue;
      const parameters = Array.from(text.matchAll(/\?/g), () => 0);
      const { results } = await env.DB.prepare(`explain query plan ${text}`)
        .bind(...parameters)
        .all<{ detail: string }>();
      plans.set(
        text,
        results.map(({ detail }) => detail).filter((detail) => /events|rollups/.test(detail)),
      );
    }
    expect(plans.size).toBeGreaterThan(10);
    for (const [text, details] of plans) {
      expect({ text, details }).toEqual({ text, details: expect.arrayContaining([expect.any(String)]) });
      for (const detail of details)
        expect(`${detail} in ${text}`).toMatch(
          /^SEARCH \w+ USING (PRIMARY KEY \(account=\?|INDEX events_request \(request_id=\?)|^CO-ROUTINE|^MATERIALIZE|^SCAN scanned/,
        );
    }
    const spans = [...plans.values()].flat().filter((detail) => detail.includes("rollups"));
    expect(spans.some((detail) => detail.includes("account=? AND bucket>? AND bucket<?"))).toBe(true);
  });
});
