/** Keys over time: deadlines to the millisecond, rotation, scopes, and when a key was last used. */
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import {
  type Account,
  admitQuery,
  admitted,
  inStoppedTime,
  openAccount,
  passTime,
  rowsOf,
  rowsWritten,
  saidOf,
  settlement,
  usageOf,
} from "../../test/money/fixture.ts";
import { HOUR_MS, MINUTE_MS, SECOND_MS } from "../clock.ts";
import { type KeyId, newKeyId } from "../ids.ts";
import type { AccountObject } from "./account.ts";

inStoppedTime();

const ask = async (account: Account) => saidOf(await account.stub.admit(admitQuery(account)));
let made = 0;
/** A rotation whose reply arrived. */
async function rotate(account: Account, overlapMs: number, id: KeyId = account.keyId) {
  const next = { id: newKeyId(), hash: `hash-next-${++made}`, hint: "next" };
  const answer = await account.stub.rotateKey(id, next, overlapMs);
  return { answer, next: { ...account, keyId: next.id, keyHash: next.hash } as Account };
}
const keyOf = async (account: Account, id: KeyId) =>
  (await account.stub.listKeys()).find((key) => key.id === id)!;

describe("a key with a deadline", () => {
  it("works to its last millisecond and not in the next, for admission and for reading, also after a restart", async () => {
    const account = await openAccount(1_000, { expiresAt: Date.now() + HOUR_MS });
    passTime(HOUR_MS - 1);
    expect(await account.stub.admit(admitQuery(account))).toMatchObject({
      ok: true,
      keyExpiresAt: Date.now() + 1,
    });
    expect(await account.stub.identify(account.keyHash)).toMatchObject({ expiresAt: Date.now() + 1 });
    passTime(1);
    for (const _ of [1, 2]) {
      expect(await ask(account)).toBe("401 invalid_api_key");
      expect(await account.stub.identify(account.keyHash)).toBeUndefined();
      await evictDurableObject(account.stub);
    }
    expect((await keyOf(account, account.keyId)).state).toBe("expired");
    expect(await account.stub.changeKey(account.keyId, { expiresAt: null })).toMatchObject({
      code: "key_ended",
    });
  });

  it("settles what it had open", async () => {
    const account = await openAccount(1_000, { expiresAt: Date.now() + 1 });
    const requestId = await admitted(account);
    passTime(1);
    expect(await account.stub.settle(settlement(requestId, usageOf(1, 1)))).toMatchObject({ posted: true });
  });
});

describe("a rotation", () => {
  it("keeps the old key exactly until its deadline, and the new one takes over its settings", async () => {
    const account = await openAccount(10_000, {
      requestsPerMinute: 100,
      residency: null,
      scopes: ["inference"],
    });
    const { answer, next } = await rotate(account, HOUR_MS);
    expect(answer).toMatchObject({
      requestsPerMinute: 100,
      scopes: ["inference"],
      state: "active",
      expiresAt: null,
    });
    expect(await keyOf(account, account.keyId)).toMatchObject({
      state: "expiring",
      expiresAt: Date.now() + HOUR_MS,
      successor: next.keyId,
    });
    passTime(HOUR_MS - 1);
    expect([await ask(account), await ask(next)]).toEqual(["ok", "ok"]);
    passTime(1);
    expect([await ask(account), await ask(next)]).toEqual(["401 invalid_api_key", "ok"]);
  });

  it("asked again, since its reply was lost, makes another successor and voids the unused one", async () => {
    const account = await openAccount(1_000);
    const lost = await rotate(account, HOUR_MS);
    passTime(10 * MINUTE_MS);
    const again = await rotate(account, HOUR_MS);
    expect(again.answer).toMatchObject({ state: "active" });
    expect(await ask(lost.next)).toBe("401 invalid_api_key");
    expect(await ask(again.next)).toBe("ok");
    // The deadline that was given first stands: it is never moved to later.
    expect((await keyOf(account, account.keyId)).expiresAt).toBe(Date.now() + 50 * MINUTE_MS);
  });

  it("asked again after the old key's end, as with no overlap at all, still makes one", async () => {
    const account = await openAccount(1_000);
    await rotate(account, 0);
    expect(await ask(account)).toBe("401 invalid_api_key");
    passTime(MINUTE_MS);
    const { next } = await rotate(account, HOUR_MS);
    expect([await ask(account), await ask(next)]).toEqual(["401 invalid_api_key", "ok"]);
  });

  it.each([
    ["a request", (account: Account) => admitted(account)],
    ["a reading", (account: Account) => account.stub.identify(account.keyHash)],
  ])("is refused once its successor was used, by %s, also after a restart", async (_name, use) => {
    const account = await openAccount(1_000);
    const { next } = await rotate(account, HOUR_MS);
    await use(next);
    await evictDurableObject(account.stub);
    const { answer } = await rotate(account, HOUR_MS);
    expect(answer).toMatchObject({
      status: 409,
      code: "already_rotated",
      message: expect.stringContaining(next.keyId),
    });
    expect(await ask(next)).toBe("ok");
    expect(await rotate(next, HOUR_MS)).toMatchObject({ answer: { state: "active" } });
  });

  it("of a key that is revoked or has expired by itself is refused", async () => {
    const account = await openAccount(1_000, { expiresAt: Date.now() + 1 });
    passTime(1);
    expect((await rotate(account, HOUR_MS)).answer).toMatchObject({ status: 409, code: "key_ended" });
    const other = await openAccount(1_000);
    await other.stub.revokeKey(other.keyId);
    expect((await rotate(other, HOUR_MS)).answer).toMatchObject({ status: 409, code: "key_ended" });
    expect(await other.stub.rotateKey(newKeyId(), { id: newKeyId(), hash: "h", hint: "h" }, 0)).toMatchObject(
      { status: 404 },
    );
  });

  it("does not let the deadline of the old key be moved to later", async () => {
    const account = await openAccount(1_000);
    await rotate(account, HOUR_MS);
    for (const expiresAt of [null, Date.now() + 2 * HOUR_MS])
      expect(await account.stub.changeKey(account.keyId, { expiresAt })).toMatchObject({ status: 400 });
    expect(await account.stub.changeKey(account.keyId, { expiresAt: Date.now() + SECOND_MS })).toMatchObject({
      state: "expiring",
    });
  });

  it("gives the successor the deadline that the key had by itself", async () => {
    const expiresAt = Date.now() + 48 * HOUR_MS;
    const account = await openAccount(1_000, { expiresAt });
    expect((await rotate(account, HOUR_MS)).answer).toMatchObject({ expiresAt });
    expect((await rotate(account, HOUR_MS)).answer).toMatchObject({ expiresAt });
  });
});

describe("scopes", () => {
  it("are inference and usage where nobody says, and for keys that were made before there were any", async () => {
    const account = await openAccount(1_000);
    await runInDurableObject(account.stub, (_object: AccountObject, { storage: { sql } }) => {
      sql.exec(
        "insert into keys (id, name, hash, hint, created_at) values ('key_old', 'old', 'hash-old', 'oldd', 0)",
      );
    });
    await evictDurableObject(account.stub);
    const keys = await account.stub.listKeys();
    expect(keys.map((key) => key.scopes)).toEqual([
      ["inference", "usage"],
      ["inference", "usage"],
    ]);
  });

  it("without inference admit nothing", async () => {
    const account = await openAccount(1_000, { scopes: ["usage", "manage"] });
    expect(await ask(account)).toBe("403 missing_scope");
    expect(await account.stub.identify(account.keyHash)).toMatchObject({ scopes: ["usage", "manage"] });
  });
});

describe("when a key was last used", () => {
  it("costs a request no row, and is known after a restart", async () => {
    const account = await openAccount(1_000);
    expect((await keyOf(account, account.keyId)).lastUsedAt).toBeNull();
    const query = admitQuery(account);
    expect(await rowsWritten(account.stub, (object) => object.admit(query))).toEqual([1]);
    const usedAt = Date.now();
    passTime(SECOND_MS);
    await evictDurableObject(account.stub); // from the reservation
    expect((await keyOf(account, account.keyId)).lastUsedAt).toBe(usedAt);
    await account.stub.settle(settlement(query.requestId, usageOf(1, 1)));
    await evictDurableObject(account.stub); // from the journal
    expect((await keyOf(account, account.keyId)).lastUsedAt).toBe(usedAt);
  });

  it("is written at most once a minute by a key that only reads", async () => {
    const account = await openAccount(1_000);
    const read = () => rowsWritten(account.stub, (object) => object.identify(account.keyHash));
    expect(await read()).toEqual([1]);
    passTime(MINUTE_MS - 1);
    expect(await read()).toEqual([]);
    passTime(1);
    expect(await read()).toEqual([1]);
    expect(await rowsOf(account.stub, "keys")).toMatchObject([{ last_used_at: Date.now() }]);
  });
});

it("an account has at most a thousand keys that work", async () => {
  const account = await openAccount(0);
  const answers = await runInDurableObject(account.stub, async (object: AccountObject) => {
    const all = [];
    for (let i = 0; i < 1_000; i++) {
      const key = { id: newKeyId(), name: "k", hash: `many-${i}`, hint: "many" };
      all.push(await object.createKey({ ...key, requestsPerMinute: null, tokensPerMinute: null }));
    }
    return all;
  });
  expect(answers.filter((answer) => "code" in answer)).toMatchObject([{ code: "too_many_keys" }]);
});
