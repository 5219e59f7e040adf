/** What an account reads about one request and about its balance, over HTTP. */
import { runInDurableObject } from "cloudflare:test";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
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
import { DAY_MS, quarterHourOf } from "../clock.ts";
import { rollups } from "../db/d1/schema.ts";
import { answerId, attemptId, newRequestId } from "../ids.ts";
import { type PriceVersion, parseUsd } from "../money.ts";
import type { AccountObject } from "../objects/account.ts";
import { EMPTY } from "./histogram.ts";

let account: TestAccount;
beforeEach(async () => {
  account = await openAccount();
});

async function read(path: string, key = account.key): Promise<any> {
  const response = await edge("GET", path, key);
  const body = (await response.json()) as any;
  return { status: response.status, ...body };
}

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
          model, region, backend, ending, finish_reason, 100, 0, 10, 0, 'backend', price_id, held, admitted_at, null, null, attempts, null
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
      days_left: null,
    });
  });

  it("says how long it lasts at the last week's pace, from the first day of use", async () => {
    const price = await sellModel();
    const spent = async (daysAgo: number, usd: number) =>
      db.insert(rollups).values({
        ...{ account: account.id, model: "m", region: "r", backend: "b", keyId: account.keyId },
        bucket: quarterHourOf(Date.now() - daysAgo * DAY_MS),
        ...{ requests: 1, failures: 0, input: 0, cachedInput: 0, output: 0, reasoning: 0 },
        cost: parseUsd(String(usd))!,
        ...{ ttft: EMPTY, speed: EMPTY },
      });
    const days = async () => (await read("/v1/balance")).days_left;
    // An hour's use says nothing of a day's: 10 USD so far today of 1,000 is a hundred days.
    await spent(0, 10);
    expect(await days()).toBe(100);
    await spent(4, 30);
    expect(await days()).toBeCloseTo(100, -1);
    await spent(8, 1_000);
    expect(await days()).toBeCloseTo(100, -1);
    await admit(account, price, { maxInput: 250_000_000, maxOutput: 0 });
    expect(await days()).toBeCloseTo(50, -1);
  });
});

describe("GET /v1/journal", () => {
  it("lists every change of the balance, newest first, the same at once and from D1", async () => {
    const price = await sellModel();
    const id = await settle(account, price, usageOf(100, 10));
    await account.object.credit(parseUsd("5")!, "=1+1");
    const atOnce = await read("/v1/journal");
    expect(atOnce).toMatchObject({ status: 200, object: "list", next_before: null });
    expect(atOnce.data.map(({ kind, amount, balance }: any) => [kind, amount, balance])).toEqual([
      ["credit", "5", "1004.9997"],
      ["usage", "-0.0003", "999.9997"],
      ["credit", "1000", "1000"],
    ]);
    expect(atOnce.data[0].reference).toBe("=1+1");
    expect(atOnce.data[1]).toEqual({
      sequence: 2,
      at: expect.any(String),
      kind: "usage",
      amount: "-0.0003",
      amount_nanodollars: "-300000",
      balance: "999.9997",
      balance_nanodollars: "999999700000",
      reference: null,
      request_id: id,
      model: price.model,
      key: account.keyId,
    });
    await projected(account);
    expect(await read("/v1/journal")).toEqual(atOnce);
    await account.object.credit(parseUsd("1")!, "later");
    const first = await read("/v1/journal?limit=2");
    const second = await read(`/v1/journal?limit=2&before=${first.next_before}`);
    expect([...first.data, ...second.data].map(({ sequence }: any) => sequence)).toEqual([4, 3, 2, 1]);
    expect(second.next_before).toBeNull();
  });

  it("refuses what it does not know", async () => {
    for (const query of ["limit=0", "limit=101", "before=-1", "before=x", "after=1"])
      expect((await read(`/v1/journal?${query}`)).status).toBe(400);
  });
});
