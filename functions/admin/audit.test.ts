/**
 * The audit finds what is wrong with the money, wherever it stands: each test breaks one thing in books that were
 * clean before, and reads which finding it makes.
 */
import { runInDurableObject } from "cloudflare:test";
import { type SQL, sql } from "drizzle-orm";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import {
  admin,
  admit,
  BACKEND,
  db,
  env,
  MODEL,
  markOf,
  openAccount,
  projected,
  REGION,
  sellModel,
  settle,
  type TestAccount,
  usageOf,
} from "../../test/support/worker.ts";
import { accounts, backends } from "../db/d1/schema.ts";
import { newAccountId, newRequestId } from "../ids.ts";
import type { PriceVersion } from "../money.ts";
import type { AccountObject } from "../objects/account.ts";

let price: PriceVersion;
let account: TestAccount;
/** What the backend remembers of an attempt; unset, it knows none. */
let remembers: Map<string, Record<string, unknown> | "unreachable">;
let asked: string[];

beforeAll(async () => {
  price = await sellModel();
  const row = {
    name: "b",
    region: REGION,
    model: MODEL,
    servedAs: MODEL,
    chip: "cpu" as const,
    url: "http://backend.test",
  };
  const secretName = "BACKEND_TEST_SECRET";
  await db
    .insert(backends)
    .values({ ...row, id: BACKEND, kind: "causeway", secretName, state: "active", createdAt: 0 });
  await db
    .insert(backends)
    .values({ ...row, id: "bknd_forgetful", kind: "openai", secretName, state: "active", createdAt: 0 });
});

beforeEach(async () => {
  remembers = new Map();
  asked = [];
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const request = new Request(input as RequestInfo, init);
    const attempt = new URL(request.url).pathname.split("/").at(-1)!;
    asked.push(`${request.method} ${attempt} ${request.headers.get("authorization")}`);
    const said = remembers.get(attempt) ?? {
      state: "unknown",
      prompt_tokens: 0,
      cached_tokens: 0,
      completion_tokens: 0,
    };
    if (said === "unreachable") throw new TypeError("connection refused");
    return Response.json(said, { status: said.state === "unknown" ? 404 : 200 });
  });
  account = await openAccount();
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

interface Result {
  account: string;
  pending: number;
  findings: string[];
  [field: string]: unknown;
}

async function audit(of = account): Promise<Result & { clean: boolean }> {
  const { status, body } = await admin("GET", `/audit?account=${of.id}`);
  expect(status).toBe(200);
  expect(body.accounts).toHaveLength(1);
  return { clean: body.clean, ...body.accounts[0] };
}

/** Clean before, these kinds of findings after. Returns them. */
async function finds(breakIt: () => Promise<unknown>, ...kinds: string[]): Promise<string[]> {
  expect((await audit()).findings).toEqual([]);
  await breakIt();
  const { clean, findings } = await audit();
  expect(clean).toBe(false);
  expect([...new Set(findings.map((finding) => finding.split(":")[0]!))].sort()).toEqual([...kinds].sort());
  return findings;
}

const inD1 = (statement: SQL) => async () => {
  const { meta } = await db.run(statement);
  expect(meta.changes).toBeGreaterThan(0);
};

const inObject =
  (statement: string, ...values: unknown[]) =>
  () =>
    runInDurableObject(account.object, (_object: AccountObject, state) => {
      expect(state.storage.sql.exec(statement, ...values).rowsWritten).toBeGreaterThan(0);
    });

/** Three requests of which D1 has everything. */
async function settled(): Promise<void> {
  for (const [i, ending] of (["finished", "client_left", "backend_failed"] as const).entries()) {
    await settle(account, price, usageOf(100 + i, 10, { cachedInput: 7 }), { ending });
  }
  await projected(account);
}

describe("GET /admin/audit", () => {
  it("finds nothing in books that are right, and says what it looked at", async () => {
    await settled();
    await admit(account, price, { maxInput: 500, maxOutput: 0 });
    expect(await audit()).toEqual({
      clean: true,
      account: account.id,
      balance: "999.9990835",
      held: "0.001",
      available: "999.9980835",
      entries: 4,
      mark: 4,
      pending: 0,
      open_reservations: 1,
      attempts_checked: 0,
      attempts_unverifiable: 3,
      findings: [],
    });
  });

  it("takes entries that are on their way to D1 for what they are: no finding, and a number", async () => {
    vi.spyOn(env.OUTBOX, "send").mockResolvedValue({} as never);
    await settle(account, price);
    expect(await audit()).toMatchObject({ clean: true, entries: 2, mark: 0, pending: 2 });
  });

  it("opens an account whose object was never opened, and shows every account when none is named", async () => {
    const id = newAccountId();
    await db.insert(accounts).values({ id, name: "half made", jurisdiction: null, createdAt: Date.now() });
    const { body } = await admin("GET", "/audit");
    expect(body.accounts.map((one: Result) => one.account)).toEqual(expect.arrayContaining([id, account.id]));
    expect(body.accounts.find((one: Result) => one.account === id)).toMatchObject({
      balance: "0",
      entries: 0,
      findings: [],
    });
    expect(body.checked_at).toMatch(/Z$/);
  });

  it("says of an account that it cannot read that it cannot, and still looks at the others", async () => {
    const id = newAccountId("eu"); // There are no jurisdictions in a local run: nobody can reach its object.
    await db.insert(accounts).values({ id, name: "out of reach", jurisdiction: "eu", createdAt: Date.now() });
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const { body } = await admin("GET", "/audit");
    expect(body.clean).toBe(false);
    expect(body.accounts.find((one: Result) => one.account === id).findings[0]).toMatch(/^unreadable:/);
    expect(body.accounts.find((one: Result) => one.account === account.id).findings).toEqual([]);
    await db.run(sql`delete from accounts where id = ${id}`);
  });

  it("is clean at every moment of an account at work", async () => {
    let working = true;
    const work = async () => {
      while (working) {
        await settle(account, price, usageOf(10, 1), { attempts: [] });
        await projected(account).catch(() => undefined); // It may have moved on meanwhile.
      }
    };
    const workers = [work(), work(), work()];
    try {
      for (let i = 0; i < 40; i++) expect((await audit()).findings).toEqual([]);
    } finally {
      working = false;
      await Promise.all(workers);
    }
    await projected(account);
    expect(await audit()).toMatchObject({ clean: true, pending: 0 });
  });

  it("reads books of more than one page", async () => {
    const many = 1_100;
    for (let i = 0; i < many; i += 50)
      await Promise.all(
        Array.from({ length: 50 }, () => settle(account, price, usageOf(10, 1), { attempts: [] })),
      );
    await projected(account);
    expect(await audit()).toMatchObject({ clean: true, entries: many + 1, mark: many + 1 });
    const findings = await finds(
      inD1(sql`update events set output = 2 where account = ${account.id} and sequence = 1050`),
      "journal",
      "rollup",
    );
    expect(findings[0]).toContain("entry 1050 differs in D1: output");
  });
});

describe("the audit of the account's own books", () => {
  beforeEach(settled);

  it("finds an entry that was changed", async () => {
    // D1 still says what it was, and the price too.
    await finds(
      inObject("update journal set amount = amount + 1 where sequence = 2"),
      "books",
      "journal",
      "charge",
    );
  });

  it("finds a balance that does not follow", async () => {
    await finds(inObject("update journal set balance = balance + 1 where sequence = 2"), "books", "journal");
  });

  it("finds an entry that is gone", async () => {
    const findings = await finds(inObject("delete from journal where sequence = 2"), "books", "journal");
    expect(findings.join("\n")).toContain("D1 has an entry 2 that the journal has not");
  });

  it("finds a hold that no reservation explains", async () => {
    await admit(account, price);
    await finds(inObject("update reservations set held = held + 1"), "books");
  });

  it("finds a request that was settled twice", async () => {
    await finds(
      inObject(`insert into journal select 5, kind, at, 0, (select balance from journal where sequence = 4), reference, request_id,
        key_id, model, region, backend, ending, finish_reason, 0, 0, 0, 0, source, price_id, held, admitted_at, ttft_ms,
        duration_ms, attempts, trace from journal where sequence = 2`),
      "books",
    );
  });
});

describe("the audit of D1 against the journal", () => {
  beforeEach(settled);

  it.each([
    "amount",
    "balance",
    "input",
    "cached_input",
    "output",
    "reasoning",
    "held",
    "at",
    "ttft_ms",
    "duration_ms",
  ])("finds a number that differs: %s", async (column) => {
    // Column names cannot be bound: a CASE over all of them keeps the statement constant.
    const add = (name: string) => sql`${column === name ? 1 : 0}`;
    const change = sql`update events set amount = amount + ${add("amount")}, balance = balance + ${add("balance")},
        input = input + ${add("input")}, cached_input = cached_input + ${add("cached_input")},
        output = output + ${add("output")}, reasoning = reasoning + ${add("reasoning")}, held = held + ${add("held")},
        at = at + ${add("at")}, ttft_ms = ttft_ms + ${add("ttft_ms")}, duration_ms = duration_ms + ${add("duration_ms")}
        where account = ${account.id} and sequence = 3`;
    const summed = ["amount", "input", "cached_input", "output", "reasoning"].includes(column);
    const findings = await finds(inD1(change), "journal", ...(summed ? ["rollup"] : []));
    expect(findings[0]).toMatch(/entry 3 differs in D1: \w+$/);
  });

  it("finds a text that differs", async () => {
    await finds(
      inD1(sql`update events set price_id = 'price_other' where account = ${account.id} and sequence = 3`),
      "journal",
    );
    await inD1(
      sql`update events set attempts = '[]', source = 'edge' where account = ${account.id} and sequence = 2`,
    )();
    expect((await audit()).findings.join("\n")).toContain("entry 2 differs in D1: source, attempts");
  });

  it("finds an event that is gone", async () => {
    await finds(
      inD1(sql`delete from events where account = ${account.id} and sequence = 3`),
      "journal",
      "rollup",
    );
  });

  it("finds a credit that is gone: rollups do not show it", async () => {
    await finds(inD1(sql`delete from events where account = ${account.id} and sequence = 1`), "journal");
  });

  it("finds events beyond the mark, and a mark that the object takes for higher than it is", async () => {
    await finds(inD1(sql`update marks set mark = 2 where account = ${account.id}`), "mark");
    expect((await audit()).findings).toHaveLength(2);
  });

  it("finds a mark beyond the journal's end", async () => {
    await finds(inD1(sql`update marks set mark = 40 where account = ${account.id}`), "mark");
  });

  it("spells out the first findings of a kind, and counts the others", async () => {
    for (let i = 0; i < 30; i++) await settle(account, price, usageOf(1, 1), { attempts: [] });
    await projected(account);
    await inD1(sql`update events set reference = 'changed' where account = ${account.id}`)();
    const { findings } = await audit();
    expect(findings).toHaveLength(21);
    expect(findings.at(-1)).toBe("journal: and 14 more");
  });
});

describe("the audit of rollups against events", () => {
  beforeEach(settled);

  const columns = ["requests", "failures", "client_left", "refused", "failed_over", "input", "cached_input"];
  it.each([...columns, "output", "reasoning", "cost"])("finds a sum that differs: %s", async (column) => {
    const add = (name: string) => sql`${column === name ? 1 : 0}`;
    await finds(
      inD1(sql`update rollups set requests = requests + ${add("requests")}, failures = failures + ${add("failures")},
        input = input + ${add("input")}, cached_input = cached_input + ${add("cached_input")}, output = output + ${add("output")},
        client_left = client_left + ${add("client_left")}, refused = refused + ${add("refused")},
        failed_over = failed_over + ${add("failed_over")}, reasoning = reasoning + ${add("reasoning")}, cost = cost + ${add("cost")} where account = ${account.id}`),
      "rollup",
    );
  });

  it("finds a group that is gone, one too many, and one in another bucket", async () => {
    await finds(
      inD1(sql`update rollups set bucket = bucket + 900000 where account = ${account.id}`),
      "rollup",
    );
    expect((await audit()).findings).toHaveLength(2);
    await inD1(sql`delete from rollups where account = ${account.id}`)();
    expect((await audit()).findings).toHaveLength(1);
  });
});

describe("the audit of charges against prices", () => {
  beforeEach(settled);

  /** The same change on both sides, so that only the price can tell; balances follow. */
  async function everywhere(amount: number): Promise<void> {
    await inObject("update journal set amount = amount + ? where sequence = 4", amount)();
    await inObject("update journal set balance = balance + ? where sequence = 4", amount)();
    await inD1(
      sql`update events set amount = amount + ${amount}, balance = balance + ${amount} where account = ${account.id} and sequence = 4`,
    )();
    await inD1(sql`update rollups set cost = cost - ${amount} where account = ${account.id}`)();
  }

  it("finds a request that cost one nanodollar too much, or too little", async () => {
    // The balance in memory was not told: that is a finding of its own.
    const findings = await finds(() => everywhere(-1), "books", "charge");
    expect(findings.join("\n")).toMatch(/entry 4 \(req_\w+\) cost 307501 and should have cost 307500/);
    await everywhere(2);
    expect((await audit()).findings.join("\n")).toMatch(/cost 307499 and should have cost 307500/);
  });

  it("knows that no request costs more than its hold", async () => {
    await settle(account, price, usageOf(5_000, 5_000), { maxInput: 10, maxOutput: 10 });
    await projected(account);
    const { findings, balance } = await audit();
    expect(findings).toEqual([]);
    expect(balance).toBe("999.9989635"); // 20 tokens of the hold, not 10,000
  });

  it("finds a price version that is gone, or another model's", async () => {
    const version = await sellModel("audited-model");
    await settle(account, version);
    await projected(account);
    await finds(inD1(sql`update prices set model = 'other' where id = ${version.id}`), "charge");
    await inD1(sql`delete from prices where id = ${version.id}`)();
    expect((await audit()).findings[0]).toContain(`names ${version.id}, which is no price of audited-model`);
  });

  it("finds a price version that was changed", async () => {
    const version = await sellModel("repriced-model");
    await settle(account, version);
    await projected(account);
    await finds(inD1(sql`update prices set input = input * 2 where id = ${version.id}`), "charge");
  });
});

describe("the audit of adjustments", () => {
  /** As objects/expiry.ts posts a late count, with this amount and these tokens. */
  const adjust = (amount: number, input: number, requestId?: string) =>
    inObject(
      `insert into journal select sequence + 1, 'adjustment', at, ?1, balance + ?1, reference, coalesce(?3, request_id), key_id, model,
        region, backend, ending, finish_reason, ?2, 0, 0, 0, 'backend', price_id, held, admitted_at, null, null, attempts, null
       from journal order by sequence desc limit 1`,
      amount,
      input,
      requestId ?? null,
    )();
  const charges = async () => (await audit()).findings.filter((finding) => finding.startsWith("charge"));

  beforeEach(async () => {
    await settle(account, price, usageOf(0, 0), { ending: "expired" });
    await projected(account);
    expect((await audit()).findings).toEqual([]);
  });

  it("takes one at the price of its tokens, and one that found less available", async () => {
    await adjust(-200_000, 100);
    expect(await charges()).toEqual([]);
    await adjust(-1, 100);
    expect(await charges()).toEqual([]);
  });

  it("finds one that charges more than its tokens cost", async () => {
    await adjust(-200_001, 100);
    expect(await charges()).toHaveLength(1);
  });

  it("finds one that pays back, and one of a request that was never settled", async () => {
    await adjust(1, 0);
    expect(await charges()).toHaveLength(1);
    await adjust(-2_000, 1, newRequestId());
    expect(await charges()).toHaveLength(2);
  });
});

describe("the audit of charges against backends", () => {
  const said = (prompt: number, cached: number, output: number, state = "done") => ({
    state,
    prompt_tokens: prompt,
    cached_tokens: cached,
    completion_tokens: output,
  });

  it("compares with what the backend counts, and asks without aborting", async () => {
    const id = await settle(account, price, usageOf(90, 20, { cachedInput: 10 }));
    remembers.set(`${id}.1`, said(100, 10, 20));
    expect(await audit()).toMatchObject({ attempts_checked: 1, attempts_unverifiable: 0, findings: [] });
    expect(asked).toEqual([`GET ${id}.1 Bearer ${env.BACKEND_TEST_SECRET}`]);
  });

  it("finds a count that differs in each class", async () => {
    const id = await settle(account, price, usageOf(90, 20, { cachedInput: 10 }));
    for (const [prompt, cached, output] of [
      [101, 10, 20],
      [100, 11, 20],
      [100, 10, 21],
    ] as const) {
      remembers.set(`${id}.1`, said(prompt, cached, output));
      const { findings, attempts_checked } = await audit();
      expect([findings.length, attempts_checked]).toEqual([1, 1]);
      expect(findings[0]).toMatch(/^attempt: .*90 \+ 10 \+ 20 tokens.* counts/);
    }
  });

  it("finds a stream that its client left and that was charged for less than was generated", async () => {
    const id = await settle(account, price, usageOf(100, 3), {
      ending: "client_left",
      attempts: [{ id: "req_x.1", backend: BACKEND, region: REGION, outcome: "aborted", ms: 5 }],
    });
    remembers.set("req_x.1", said(100, 0, 4, "aborted"));
    expect((await audit()).findings).toHaveLength(1);
    expect(asked).toHaveLength(1);
    expect(id).toMatch(/^req_/);
  });

  it("counts what cannot be verified: unknown, unreachable, still running, absurd, or a backend that keeps none", async () => {
    const ids = [];
    for (let i = 0; i < 4; i++) ids.push(await settle(account, price));
    await settle(account, price, usageOf(1, 1), {
      backend: "bknd_forgetful",
      attempts: [{ id: "req_y.1", backend: "bknd_forgetful", region: REGION, outcome: "served", ms: 5 }],
    });
    remembers.set(`${ids[1]}.1`, "unreachable");
    remembers.set(`${ids[2]}.1`, said(100, 0, 5, "running"));
    remembers.set(`${ids[3]}.1`, said(-1, 0, 5));
    expect(await audit()).toMatchObject({ clean: true, attempts_checked: 0, attempts_unverifiable: 5 });
  });

  it("does not ask where the count is the edge's own, or no attempt was served", async () => {
    await settle(account, price, usageOf(5, 5, { source: "edge" }));
    await settle(account, price, usageOf(0, 0), {
      ending: "backend_failed",
      attempts: [{ id: "req_z.1", backend: BACKEND, region: REGION, outcome: "failed", ms: 5 }],
    });
    expect(await audit()).toMatchObject({ attempts_checked: 0, attempts_unverifiable: 0 });
    expect(asked).toEqual([]);
  });

  it("knows that an answer that failed without a count costs nothing, whatever its backend says later", async () => {
    const aborted = (id: string) => [
      { id: `req_${id}.1` as const, backend: BACKEND, region: REGION, outcome: "aborted" as const, ms: 5 },
    ];
    await settle(account, price, usageOf(0, 0), { ending: "backend_failed", attempts: aborted("f") });
    await settle(account, price, usageOf(0, 0), { ending: "deadline", attempts: aborted("d") });
    for (const id of ["f", "d"]) remembers.set(`req_${id}.1`, said(50, 0, 5, "aborted"));
    expect(await audit()).toMatchObject({ clean: true, attempts_unverifiable: 2 });
    // With a count it has to be the backend's.
    await settle(account, price, usageOf(50, 4), { ending: "deadline", attempts: aborted("d") });
    expect((await audit()).findings).toHaveLength(1);
  });

  it("waits for the late count of a request that expired while nobody could be asked", async () => {
    const id = await settle(account, price, usageOf(0, 0), { ending: "expired" });
    const counted = await settle(account, price, usageOf(50, 2), { ending: "expired" });
    for (const one of [id, counted]) remembers.set(`${one}.1`, said(50, 0, 5, "aborted"));
    expect(await audit()).toMatchObject({ clean: true, attempts_unverifiable: 2 });
    remembers.set(`${counted}.1`, said(50, 0, 1, "aborted"));
    expect((await audit()).findings).toHaveLength(1);
  });

  it("asks only while the backend is sure to remember, and of the newest two hundred", async () => {
    await settle(account, price);
    vi.useFakeTimers({ toFake: ["Date"] });
    vi.setSystemTime(Date.now() + 26 * 60_000);
    expect(await audit()).toMatchObject({ attempts_checked: 0, attempts_unverifiable: 0 });
    for (let i = 0; i < 205; i++) await settle(account, price, usageOf(1, 1));
    expect(await audit()).toMatchObject({ attempts_unverifiable: 200 });
    expect(await markOf(account.id)).toBeLessThanOrEqual(207);
  });
});
