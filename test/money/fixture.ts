/**
 * An account's real object in workerd, with what the tests of money need around it: a clock that stands still until
 * a test moves it, a queue that keeps what it was sent, a backend that says what a test wants. The clock stands
 * years ahead, so that no alarm rings by itself: a test rings it.
 */
import { runInDurableObject } from "cloudflare:test";
import { env as bound } from "cloudflare:workers";
import { drizzle } from "drizzle-orm/d1";
import { afterEach, beforeEach, vi } from "vitest";
import type { Admission, AdmitQuery, Settlement } from "../../functions/admission/holder.ts";
import { backends } from "../../functions/db/d1/schema.ts";
import type { Env } from "../../functions/env.ts";
import {
  type AccountId,
  attemptId,
  type BackendId,
  type LeaseId,
  newAccountId,
  newKeyId,
  newRequestId,
  type RequestId,
} from "../../functions/ids.ts";
import { type Nanodollars, nanodollars, type PriceVersion, type Usage } from "../../functions/money.ts";
import type { AccountObject } from "../../functions/objects/account.ts";
import type { NewKey } from "../../functions/objects/keyring.ts";
import type { OutboxMessage } from "../../functions/usage/outbox.ts";

export const env = bound as unknown as Env;
export type Stub = DurableObjectStub<AccountObject>;

export const BACKEND: BackendId = "bknd_01ARZ3NDEKTSV4RRFFQ69G5FAV";
/** A backend that cannot be asked for an attempt's count. */
export const SILENT: BackendId = "bknd_01ARZ3NDEKTSV4RRFFQ69G5FAW";

/** A nanodollar a token, whatever its class: a count is its cost. */
export const PRICE: PriceVersion = {
  id: "price_01ARZ3NDEKTSV4RRFFQ69G5FAV",
  model: "test/model",
  effectiveAt: 0,
  input: nanodollars(1_000_000),
  cachedInput: nanodollars(1_000_000),
  output: nanodollars(1_000_000),
};

/** Each test of the file begins at the same instant, which passes by `passTime` alone, and sends nothing. */
export function inStoppedTime(): void {
  beforeEach(() => {
    stopClock();
    catchQueue();
  });
  afterEach(() => {
    vi.restoreAllMocks();
    vi.useRealTimers();
  });
}

export function stopClock(): void {
  vi.useFakeTimers({ toFake: ["Date"] });
  vi.setSystemTime(Date.UTC(2040, 0, 1));
}

export const passTime = (ms: number) => vi.setSystemTime(Date.now() + ms);

/** Keeps messages instead of sending them; `send` may be made to fail. */
export function catchQueue() {
  const sent: OutboxMessage[] = [];
  const send = vi.spyOn(env.OUTBOX, "send").mockImplementation(async (message) => {
    sent.push(message);
    return { metadata: {} } as never;
  });
  return { sent, send, sequences: () => sent.map((message) => message.rows.map((row) => row.sequence)) };
}

export interface Account {
  readonly id: AccountId;
  readonly stub: Stub;
  readonly keyHash: string;
  readonly keyId: `key_${string}`;
}

/** A stub of its own: one that has seen its object die keeps failing. */
export const stubOf = (account: AccountId): Stub => env.ACCOUNTS.getByName(account);

export async function openAccount(
  funds: number,
  limits: Partial<Omit<NewKey, "id" | "hash">> = {},
): Promise<Account> {
  const id = newAccountId();
  const stub = stubOf(id);
  await stub.open(id);
  const keyId = newKeyId();
  const keyHash = `hash-${keyId}`;
  const unlimited = { requestsPerMinute: null, tokensPerMinute: null };
  await stub.createKey({ id: keyId, name: "test", hash: keyHash, hint: "abcd", ...unlimited, ...limits });
  if (funds > 0) await stub.credit(nanodollars(funds), "opening");
  return { id, stub, keyHash, keyId };
}

export function admitQuery(account: Account, more: Partial<AdmitQuery> = {}): AdmitQuery {
  return {
    requestId: newRequestId(),
    keyHash: account.keyHash,
    model: PRICE.model,
    maxInput: 60,
    maxOutput: 40,
    price: PRICE,
    backend: BACKEND,
    region: "test-region",
    deadlineMs: Date.now() + 600_000,
    ...more,
  };
}

export const usageOf = (input: number, output: number, more: Partial<Usage> = {}): Usage => ({
  input,
  cachedInput: 0,
  output,
  reasoning: 0,
  source: "backend",
  ...more,
});

export function settlement(requestId: RequestId, usage: Usage, more: Partial<Settlement> = {}): Settlement {
  return {
    requestId,
    leaseId: "lease_test" as LeaseId,
    epoch: 1,
    ending: "finished",
    finishReason: "stop",
    usage,
    backend: BACKEND,
    region: "test-region",
    attempts: [
      { id: attemptId(requestId, 1), backend: BACKEND, region: "test-region", outcome: "served", ms: 5 },
    ],
    ttftMs: 3,
    durationMs: 5,
    ...more,
  };
}

/** What an admission said, in short. */
export const saidOf = (admission: Admission): string =>
  admission.ok ? "ok" : `${admission.error.status} ${admission.error.code}`;

/** Rows that SQLite wrote for one call, as the platform bills them, statement by statement. */
export async function rowsWritten(
  stub: Stub,
  call: (object: AccountObject) => Promise<unknown>,
): Promise<number[]> {
  return runInDurableObject(stub, async (object: AccountObject, state) => {
    const cursors: { rowsWritten: number }[] = [];
    const exec = state.storage.sql.exec.bind(state.storage.sql);
    const spy = vi.spyOn(state.storage.sql, "exec").mockImplementation(((
      query: string,
      ...values: unknown[]
    ) => {
      const cursor = exec(query, ...values);
      cursors.push(cursor);
      return cursor;
    }) as never);
    await call(object);
    spy.mockRestore();
    return cursors.map((cursor) => cursor.rowsWritten).filter((rows) => rows > 0);
  });
}

/** The request that was admitted; a test that expected so fails here when it was not. */
export async function admitted(account: Account, more: Partial<AdmitQuery> = {}): Promise<RequestId> {
  const query = admitQuery(account, more);
  const answer = await account.stub.admit(query);
  if (!answer.ok) throw new Error(`not admitted: ${answer.error.code}: ${answer.error.message}`);
  return query.requestId;
}

export async function books(stub: Stub) {
  const audit = await stub.audit();
  if (!audit) throw new Error("the account is not open");
  return audit;
}

export const money = (value: number): Nanodollars => nanodollars(value);

export const alarmOf = (stub: Stub): Promise<number | null> =>
  runInDurableObject(stub, (_object: AccountObject, state) => state.storage.getAlarm());

/** Everything of a table, as SQLite has it. */
export const rowsOf = (
  stub: Stub,
  table: "reservations" | "journal" | "inquiries" | "state" | "keys" | "tallies" | "idempotency",
) =>
  runInDurableObject(stub, (_object: AccountObject, state) =>
    state.storage.sql.exec(`select * from ${table}`).toArray(),
  );

/** D1's list of backends: one that keeps the attempt contract, and one that does not. */
export async function listBackends(): Promise<void> {
  const row = {
    region: "test-region",
    model: PRICE.model,
    servedAs: PRICE.model,
    chip: "cpu" as const,
    url: "http://backend.test",
    secretName: "BACKEND_TEST_SECRET",
    state: "active" as const,
    createdAt: 0,
  };
  const rows = [
    { ...row, id: BACKEND, name: "causeway", kind: "causeway" as const },
    { ...row, id: SILENT, name: "silent", kind: "openai" as const },
  ];
  await drizzle(env.DB).insert(backends).values(rows).onConflictDoNothing();
}

/** What the backend says of an attempt: a report, nothing at all, or an answer of the test's own. */
export type Said =
  | Record<string, unknown>
  | "unreachable"
  | ((signal: AbortSignal) => Promise<Response> | Response);

/** Stands where the backend is, and keeps what it was asked. */
export function fakeBackend() {
  const asked: string[] = [];
  const says = new Map<string, Said>();
  const backend = { asked, says, always: undefined as Said | undefined };
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const request = new Request(input as RequestInfo, init);
    const attempt = new URL(request.url).pathname.split("/").at(-1)!;
    asked.push(`${request.method} ${attempt}`);
    const said = says.get(attempt) ?? backend.always ?? { state: "unknown" };
    if (said === "unreachable") throw new TypeError("connection refused");
    if (typeof said === "function") return said(request.signal);
    return Response.json(said, { status: said.state === "unknown" ? 404 : 200 });
  });
  return backend;
}

export const report = (state: string, prompt: unknown, output: unknown, cached: unknown = 0) => ({
  state,
  prompt_tokens: prompt,
  cached_tokens: cached,
  completion_tokens: output,
  finish_reason: state === "done" ? "stop" : null,
  boot_id: "boot",
});
