/**
 * Helpers for tests inside workerd that use the whole edge: its HTTP surface, real account objects, D1 and the
 * queue. Requests are admitted and settled on the account's object itself: no backend is needed for books.
 */
import { createMessageBatch } from "cloudflare:test";
import { env as bound, exports } from "cloudflare:workers";
import { eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Settlement } from "../../functions/admission/holder.ts";
import { accountObject } from "../../functions/auth/accounts.ts";
import { makeKey, readKey } from "../../functions/auth/key.ts";
import type { Scope } from "../../functions/auth/scopes.ts";
import { accounts, marks, models, prices } from "../../functions/db/d1/schema.ts";
import type { Env } from "../../functions/env.ts";
import {
  type AccountId,
  attemptId,
  type KeyId,
  newAccountId,
  newKeyId,
  newPriceId,
  newRequestId,
  type RequestId,
} from "../../functions/ids.ts";
import { nanodollars, type PriceVersion, parseUsd, type Usage } from "../../functions/money.ts";
import type { AccountObject } from "../../functions/objects/account.ts";
import type { JournalRow } from "../../functions/objects/ledger.ts";
import { messages, type OutboxMessage } from "../../functions/usage/outbox.ts";
import { project } from "../../functions/usage/project.ts";

export const env = bound as unknown as Env;
export const db = drizzle(env.DB);

export const BACKEND = "bknd_test";
export const REGION = "test-region";
export const MODEL = "test-model";

/** A real request to the edge, as a client sends it. */
export async function edge(
  method: string,
  path: string,
  key?: string,
  body?: unknown,
  more: HeadersInit = {},
): Promise<Response> {
  const headers = new Headers(more);
  if (key !== undefined) headers.set("authorization", `Bearer ${key}`);
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  const worker = exports as unknown as { default: Fetcher };
  return worker.default.fetch(`https://edge.test${path}`, {
    method,
    headers,
    ...(text !== undefined && { body: text }),
  });
}

/** A request of the operator. The answer's body is JSON, errors too. */
export async function admin<T = Record<string, any>>(
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: T }> {
  const response = await edge(method, `/admin${path}`, env.ADMIN_KEY, body);
  return { status: response.status, body: (await response.json()) as T };
}

export interface TestAccount {
  readonly id: AccountId;
  readonly object: DurableObjectStub<AccountObject>;
  readonly keyId: KeyId;
  /** The key as a client presents it. */
  readonly key: string;
  readonly keyHash: string;
}

/** An account that D1 lists, with a key and this much USD. */
export async function openAccount(usd = "1000", scopes?: readonly Scope[]): Promise<TestAccount> {
  const id = newAccountId();
  await db.insert(accounts).values({ id, name: "test", jurisdiction: null, createdAt: Date.now() });
  const object = accountObject(env, id);
  await object.open(id);
  if (usd !== "0") await object.credit(parseUsd(usd)!, "opening");
  return { id, object, ...(await addKey(object, id, scopes)) };
}

export async function addKey(
  object: DurableObjectStub<AccountObject>,
  account: AccountId,
  scopes?: readonly Scope[],
) {
  const { key, hint } = await makeKey(env, account);
  const keyHash = (await readKey(env, key))!.hash;
  const keyId = newKeyId();
  await object.createKey({
    id: keyId,
    name: "test",
    hash: keyHash,
    hint,
    requestsPerMinute: null,
    tokensPerMinute: null,
    ...(scopes && { scopes }),
  });
  return { key, keyId, keyHash };
}

/** A price version that D1 has, so that the audit can follow it. USD a million tokens: 2, 0.5 and 10. */
export async function sellModel(
  model = MODEL,
  rates = { input: "2", cachedInput: "0.5", output: "10" },
): Promise<PriceVersion> {
  const now = Date.now();
  const version: PriceVersion = {
    id: newPriceId(),
    model,
    effectiveAt: now,
    input: parseUsd(rates.input)!,
    cachedInput: parseUsd(rates.cachedInput)!,
    output: parseUsd(rates.output)!,
  };
  const about = { name: model, description: "", ownedBy: "tests", createdAt: now };
  await db
    .insert(models)
    .values({ id: model, ...about, contextLength: 4_096, defaultMaxOutputTokens: 512 })
    .onConflictDoNothing();
  await db.insert(prices).values({ ...version, createdAt: now });
  return version;
}

export const usageOf = (input: number, output: number, more: Partial<Usage> = {}): Usage => ({
  input,
  cachedInput: 0,
  output,
  reasoning: 0,
  source: "backend",
  ...more,
});

/** Reserves money for a request. Throws when it is refused. */
export async function admit(
  account: TestAccount,
  price: PriceVersion,
  placement: {
    backend?: string;
    region?: string;
    maxInput?: number;
    maxOutput?: number;
    deadlineMs?: number;
  } = {},
): Promise<RequestId> {
  const requestId = newRequestId();
  const admitted = await account.object.admit({
    requestId,
    keyHash: account.keyHash,
    model: price.model,
    maxInput: 100_000,
    maxOutput: 100_000,
    price,
    backend: BACKEND,
    region: REGION,
    deadlineMs: Date.now() + 600_000,
    ...placement,
  });
  if (!admitted.ok) throw new Error(`not admitted: ${admitted.error.message}`);
  return requestId;
}

/** A request from its reservation to its settlement. */
export async function settle(
  account: TestAccount,
  price: PriceVersion,
  usage: Usage = usageOf(100, 10),
  more: Partial<Settlement> & { maxInput?: number; maxOutput?: number } = {},
): Promise<RequestId> {
  const { maxInput, maxOutput, ...settlement } = more;
  const bound = {
    ...(maxInput !== undefined && { maxInput }),
    ...(maxOutput !== undefined && { maxOutput }),
  };
  const requestId = await admit(account, price, bound);
  const backend = settlement.backend ?? BACKEND;
  const region = settlement.region ?? REGION;
  const { posted } = await account.object.settle({
    requestId,
    leaseId: "lease_test",
    epoch: 1,
    ending: "finished",
    finishReason: "stop",
    usage,
    backend,
    region,
    attempts: [{ id: attemptId(requestId, 1), backend, region, outcome: "served", ms: 500 }],
    ttftMs: 100,
    durationMs: 600,
    ...settlement,
  });
  if (!posted) throw new Error(`${requestId} was not settled`);
  return requestId;
}

/** How far D1 says it is; 0 before the account's first message. */
export async function markOf(account: AccountId): Promise<number> {
  const row = await db.select().from(marks).where(eq(marks.account, account)).get();
  return row?.mark ?? 0;
}

/** Resolves once D1 has everything of the account's journal, by the outbox's own way, and the object knows. */
export async function drained(account: TestAccount, withinMs = 20_000): Promise<void> {
  await eventually(
    async () => {
      const { last, mark } = await account.object.progress();
      return mark === last && (await markOf(account.id)) === last;
    },
    `D1 to have all of ${account.id}`,
    withinMs,
  );
}

/** Brings all of the journal into D1 at once, with the outbox's consumer and without the queue's two seconds. */
export async function projected(account: TestAccount): Promise<void> {
  const rows: JournalRow[] = [];
  for (let page: JournalRow[]; ; rows.push(...page)) {
    page = (await account.object.journalAfter(rows.at(-1)?.sequence ?? 0, 1_000)) as JournalRow[];
    if (page.length === 0) break;
  }
  const sent = messages(account.id, rows).map((body, i) => ({
    id: String(i),
    timestamp: new Date(),
    attempts: 1,
    body,
  }));
  await project(createMessageBatch<OutboxMessage>("causeway-outbox", sent), env);
  const { last, mark } = await account.object.progress();
  if (mark !== last) throw new Error(`D1 has ${mark} of ${last} entries of ${account.id}`);
}

/** Polls until it holds; throws, saying what was waited for, when it does not in time. */
export async function eventually(
  holds: () => Promise<boolean>,
  what: string,
  withinMs = 20_000,
): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited ${withinMs} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export const money = nanodollars;
