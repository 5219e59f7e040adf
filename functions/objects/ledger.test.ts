import { runInDurableObject } from "cloudflare:test";
import { sql } from "drizzle-orm";
import { describe, expect, it } from "vitest";
import {
  type Account,
  admitQuery,
  admitted,
  books,
  inStoppedTime,
  money,
  openAccount,
  rowsOf,
  rowsWritten,
  type Stub,
  settlement,
  usageOf,
} from "../../test/money/fixture.ts";
import { journal } from "../db/account/schema.ts";
import { newRequestId } from "../ids.ts";
import { price } from "../money.ts";
import type { AccountObject } from "./account.ts";
import { openDatabase } from "./ledger.ts";

inStoppedTime();

const inTransaction = (stub: Stub, work: (db: ReturnType<typeof openDatabase>) => void) =>
  runInDurableObject(stub, (_object: AccountObject, state) => work(openDatabase(state.storage)));

describe("a request", () => {
  it("costs three row writes: its reservation and that one's delete, and its journal row", async () => {
    const account = await openAccount(1_000);
    const query = admitQuery(account);
    expect(await rowsWritten(account.stub, (object) => object.admit(query))).toEqual([1]);
    expect(
      await rowsWritten(account.stub, (object) => object.settle(settlement(query.requestId, usageOf(10, 5)))),
    ).toEqual([1, 1]);
  });

  it("leaves what it has not said null, in its columns of JSON too", async () => {
    const account = await openAccount(1_000);
    const requestId = await admitted(account);
    expect(await rowsOf(account.stub, "reservations")).toMatchObject([{ counted: null, once: null }]);
    await account.stub.settle(settlement(requestId, usageOf(10, 5)));
    const [, entry] = await rowsOf(account.stub, "journal");
    expect(entry).toMatchObject({ request_id: requestId, trace: null, reference: null });
    expect(JSON.parse(entry!.attempts as string)).toHaveLength(1);
  });

  it("costs one more when it fails over, and nothing when it is refused or settled again", async () => {
    const account = await openAccount(100);
    const requestId = await admitted(account);
    const at = { requestId, attempt: `${requestId}.2` as const, backend: "other", region: "test-region" };
    expect(await rowsWritten(account.stub, (object) => object.checkpoint(at))).toEqual([1]);
    expect(await rowsWritten(account.stub, (object) => object.admit(admitQuery(account)))).toEqual([]);
    await account.stub.settle(settlement(requestId, usageOf(10, 5)));
    expect(
      await rowsWritten(account.stub, (object) => object.settle(settlement(requestId, usageOf(10, 5)))),
    ).toEqual([]);
  });
});

describe("a settlement", () => {
  it("costs what its usage costs at the rates that the reservation pinned", async () => {
    const account = await openAccount(10_000);
    const dear = {
      ...admitQuery(account).price,
      input: money(3_000_000),
      cachedInput: money(1_500_000),
      output: money(7_000_001),
    };
    const requestId = await admitted(account, { price: dear });
    const usage = usageOf(20, 11, { cachedInput: 5 });
    const receipt = await account.stub.settle(settlement(requestId, usage));
    expect(receipt).toEqual({ posted: true, cost: price(usage, dear) });
    expect(await account.stub.balance()).toEqual({
      balance: 10_000 - receipt.cost,
      held: 0,
      available: 10_000 - receipt.cost,
    });
  });

  it("never costs more than the hold, whatever it says was used", async () => {
    const account = await openAccount(1_000);
    const requestId = await admitted(account);
    expect(await account.stub.settle(settlement(requestId, usageOf(60, 4_000)))).toEqual({
      posted: true,
      cost: 100,
    });
    expect((await books(account.stub)).balance).toBe(900);
  });

  it("posts once: a second one, with another count, is told the first one's cost", async () => {
    const account = await openAccount(1_000);
    const requestId = await admitted(account);
    expect(await account.stub.settle(settlement(requestId, usageOf(10, 5)))).toEqual({
      posted: true,
      cost: 15,
    });
    expect(await account.stub.settle(settlement(requestId, usageOf(60, 40)))).toEqual({
      posted: false,
      cost: 15,
    });
    expect(await books(account.stub)).toMatchObject({ balance: 985, held: 0, findings: [] });
  });

  it("posts once when two come at the same time", async () => {
    const account = await openAccount(1_000);
    const requestId = await admitted(account);
    const receipts = await Promise.all(
      [5, 6, 7].map((output) => account.stub.settle(settlement(requestId, usageOf(10, output)))),
    );
    expect(receipts.filter((receipt) => receipt.posted)).toHaveLength(1);
    expect(new Set(receipts.map((receipt) => receipt.cost)).size).toBe(1);
    expect(await rowsOf(account.stub, "journal")).toHaveLength(2);
  });

  it("of a request that was never open posts nothing", async () => {
    const account = await openAccount(1_000);
    expect(await account.stub.settle(settlement(newRequestId(), usageOf(10, 5)))).toEqual({
      posted: false,
      cost: 0,
    });
    expect(await books(account.stub)).toMatchObject({ balance: 1_000, last: 1 });
  });

  it.each([
    ["NaN", { output: Number.NaN }],
    ["negative", { input: -1 }],
    ["a fraction", { output: 0.5 }],
    ["2^53", { input: 2 ** 53 }],
    ["a text", { output: "5" }],
    ["missing", { output: undefined }],
  ])(
    "with a count that is %s fails whole and leaves the reservation for the expiry",
    async (_name, absurd) => {
      const account = await openAccount(1_000);
      const requestId = await admitted(account);
      const before = await rowsOf(account.stub, "reservations");
      const says = settlement(requestId, { ...usageOf(10, 5), ...(absurd as object) });
      const error = await runInDurableObject(account.stub, (object: AccountObject) =>
        object.settle(says).catch((thrown: Error) => thrown),
      );
      expect(String(error)).toContain("not a count of tokens");
      expect(await rowsOf(account.stub, "reservations")).toEqual(before);
      expect(await books(account.stub)).toMatchObject({ balance: 1_000, held: 100, last: 1, findings: [] });
      expect(await account.stub.settle(settlement(requestId, usageOf(10, 5)))).toEqual({
        posted: true,
        cost: 15,
      });
    },
  );
});

describe("a transaction", () => {
  const row = { sequence: 999, kind: "credit" as const, at: 0, amount: money(1), balance: money(1) };

  it("whose callback throws half-way keeps nothing", async () => {
    const account = await openAccount(1_000);
    const attempt = inTransaction(account.stub, (db) => {
      db.transaction((tx) => {
        tx.insert(journal).values(row).run();
        expect(tx.select().from(journal).all()).toHaveLength(2); // it was written, until:
        throw new Error("half-way");
      });
    });
    await expect(attempt).rejects.toThrow("half-way");
    expect(await rowsOf(account.stub, "journal")).toHaveLength(1);
  });

  it("that breaks a constraint in its second statement keeps nothing of the first", async () => {
    const account = await openAccount(1_000);
    const attempt = inTransaction(account.stub, (db) => {
      db.transaction((tx) => {
        tx.insert(journal).values(row).run();
        tx.insert(journal).values(row).run();
      });
    });
    await expect(attempt).rejects.toThrow();
    expect(await rowsOf(account.stub, "journal")).toHaveLength(1);
  });

  it("with an async callback would keep the half: why lint bans it", async () => {
    const account = await openAccount(1_000);
    const attempt = inTransaction(account.stub, (db) => {
      // biome-ignore lint/plugin: the very thing that must not be written
      void db
        .transaction(async (tx) => {
          tx.insert(journal).values(row).run();
          throw new Error("half-way");
        })
        .catch(() => undefined);
    });
    await attempt.catch(() => undefined);
    expect(await rowsOf(account.stub, "journal")).toHaveLength(2);
  });
});

describe("the audit", () => {
  const tamper = (stub: Stub, change: (exec: (query: string) => void) => void) =>
    runInDurableObject(stub, (_object: AccountObject, state) =>
      change((query) => state.storage.sql.exec(query)),
    );

  async function busyAccount(): Promise<Account> {
    const account = await openAccount(1_000);
    for (const output of [5, 6])
      await account.stub.settle(settlement(await admitted(account), usageOf(10, output)));
    await admitted(account);
    expect((await books(account.stub)).findings).toEqual([]);
    return account;
  }

  it.each([
    [
      "an entry that was changed",
      "update journal set amount = amount - 1 where sequence = 2",
      "do not follow",
    ],
    [
      "a balance that was changed",
      "update journal set balance = balance + 1 where sequence = 2",
      "do not follow",
    ],
    ["an entry that is gone", "delete from journal where sequence = 2", "do not follow"],
    [
      "an entry that is gone from the end",
      "delete from journal where sequence = 3",
      "is not opening and entries",
    ],
    [
      "a request that was settled twice",
      "update journal set request_id = (select request_id from journal where sequence = 2) where sequence = 3",
      "settled more than once",
    ],
    ["a hold that was changed", "update reservations set held = held + 1", "is not the sum of reservations"],
    ["a reservation that is gone", "delete from reservations", "is not the sum of reservations"],
  ])("finds %s", async (_name, query, finding) => {
    const account = await busyAccount();
    await tamper(account.stub, (exec) => exec(query));
    expect((await books(account.stub)).findings.join("; ")).toContain(finding);
  });

  it("sums past 2^53 exactly", async () => {
    const account = await openAccount(0);
    const most = money(Number.MAX_SAFE_INTEGER);
    await tamper(account.stub, (exec) => {
      for (let i = 1; i <= 3; i++)
        exec(
          `insert into journal (sequence, kind, at, amount, balance) values (${i}, 'credit', 0, ${most}, 0)`,
        );
    });
    const [row] = await runInDurableObject(account.stub, (_object: AccountObject, state) =>
      openDatabase(state.storage).all<{ sum: string }>(
        sql`select cast(sum(amount) as text) as sum from journal`,
      ),
    );
    expect(BigInt(row!.sum)).toBe(3n * BigInt(most));
    expect((await books(account.stub)).findings.join()).toContain(String(3n * BigInt(most)));
  });
});
