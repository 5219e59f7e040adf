/**
 * What an account's books must be, kept the simple way beside the real object: plain maps, no rows, no memory to
 * rebuild. Commands (commands.ts) change both; `compare` finds any difference.
 */
import { runInDurableObject } from "cloudflare:test";
import { expect } from "vitest";
import type { RequestId } from "../../functions/ids.ts";
import type { Usage } from "../../functions/money.ts";
import type { AccountObject } from "../../functions/objects/account.ts";
import type { Account, Stub } from "./fixture.ts";

/** What the backend will say of an attempt, when it can be reached. */
export type Fate = { state: string; prompt: unknown; output: unknown };

export interface Request {
  readonly id: RequestId;
  readonly maxInput: number;
  readonly maxOutput: number;
  readonly hold: number;
  readonly admittedAt: number;
  readonly deadlineAt: number;
  readonly epoch: number;
  /** The line of rotations that its key belongs to, and the key. */
  readonly line: string;
  readonly key: Key;
  /** By attempt: the number of the newest is the list's length. */
  readonly fates: Fate[];
  counted: Usage | undefined;
}

export type Period = "day" | "month";
export type Budgets = Record<Period, number | null>;

export interface Key {
  hash: string;
  id: `key_${string}`;
  line: string;
  revoked: boolean;
  expiresAt: number | null;
  successor: Key | undefined;
  used: boolean;
  budgets: Budgets;
}

export interface Model {
  balance: number;
  last: number;
  mark: number;
  epoch: number;
  readonly keys: Key[];
  readonly budgets: Budgets;
  /** What each idempotency key has done. */
  readonly onces: Map<string, { fingerprint: string; id: RequestId; at: number }>;
  readonly credits: Map<string, number>;
  readonly open: Map<RequestId, Request>;
  /** Closed requests, and what each has cost in sum. */
  readonly closed: Map<RequestId, { request: Request; cost: number; adjusted: boolean }>;
  backendUp: boolean;
  d1Up: boolean;
}

/** The world that a run of commands acts on. A killed object needs a new stub. */
export interface Real {
  readonly account: Account;
  stub: Stub;
  /** Applies a change of the outside: what the fake backend, D1 and the queue do from now on. */
  readonly outside: { backendUp: boolean; d1Up: boolean; queueUp: boolean; fates: Map<string, Fate> };
}

export const newKey = (hash: string, id: Key["id"], line: string = id, budgets: Budgets = NONE): Key => ({
  ...{ hash, id, line, revoked: false, expiresAt: null, successor: undefined, used: false },
  budgets: { ...budgets },
});
const NONE: Budgets = { day: null, month: null };

export const works = (key: Key): boolean =>
  !key.revoked && (key.expiresAt === null || Date.now() < key.expiresAt);

/** The first characters of an ISO time that name its period: simple, and nothing like the object's own way. */
const named = (period: Period, at: number) => new Date(at).toISOString().slice(0, period === "day" ? 10 : 7);

/** What is settled and what is held in the period that holds `at`, of a line or of all. */
export function used(model: Model, line: string | undefined, period: Period, at: number) {
  const counts = (request: Request) =>
    (line === undefined || request.line === line) && named(period, request.admittedAt) === named(period, at);
  const closed = [...model.closed.values()].filter(({ request }) => counts(request));
  const open = [...model.open.values()].filter(counts);
  return {
    spent: closed.reduce((sum, { cost }) => sum + cost, 0),
    held: open.reduce((sum, { hold }) => sum + hold, 0),
  };
}

/** What each budget that applies to a key's request has left. */
export function rooms(model: Model, key: Key, at: number): number[] {
  return (["day", "month"] as const).flatMap((period) =>
    [
      { limit: key.budgets[period], line: key.line },
      { limit: model.budgets[period], line: undefined },
    ].flatMap(({ limit, line }) => {
      if (limit === null) return [];
      const { spent, held } = used(model, line, period, at);
      return [limit - spent - held];
    }),
  );
}

export const heldOf = (model: Model): number =>
  [...model.open.values()].reduce((sum, { hold }) => sum + hold, 0);
export const availableOf = (model: Model): number => model.balance - heldOf(model);

const whole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** What a count costs at a nanodollar a token; undefined: nobody should believe it. */
export function worth(request: Request, prompt: unknown, output: unknown): number | undefined {
  if (!whole(prompt) || !whole(output)) return undefined;
  return prompt <= request.maxInput && output <= request.maxOutput ? prompt + output : undefined;
}

/** What a request costs that the alarm settles, by billing/README.md's table. */
export function expiredCost(model: Model, request: Request): number {
  const fate = request.fates.at(-1)!;
  const said = model.backendUp ? worth(request, fate.prompt, fate.output) : undefined;
  const { counted } = request;
  return said ?? (counted && worth(request, counted.input + counted.cachedInput, counted.output)) ?? 0;
}

export function close(model: Model, request: Request, cost: number): void {
  model.open.delete(request.id);
  model.closed.set(request.id, { request, cost, adjusted: false });
  model.balance -= cost;
  model.last += 1;
}

interface Entry {
  sequence: number;
  kind: string;
  amount: number;
  balance: number;
  request_id: RequestId | null;
  ending: string | null;
}

/** The object's rows and its own word, read at one moment. */
export async function look(real: Real) {
  return runInDurableObject(real.stub, async (object: AccountObject, { storage: { sql } }) => ({
    audit: (await object.audit())!,
    memory: await object.balance(),
    budgets: await object.budgets(),
    keys: await object.listKeys(),
    journal: sql.exec("select * from journal order by sequence").toArray() as unknown as Entry[],
    held: sql.exec("select request_id, held from reservations order by request_id").toArray(),
    state: sql.exec("select opening, mark, epoch from state").one(),
  }));
}

/** Every invariant, and that object, rows and model agree. */
export async function compare(model: Model, real: Real): Promise<void> {
  const { audit, memory, journal, held, state, budgets, keys } = await look(real);
  expect(audit.findings).toEqual([]);

  const shown = (limits: Budgets, line: string | undefined) =>
    Object.fromEntries(
      (["day", "month"] as const).map((period) => [
        period,
        limits[period] === null
          ? null
          : expect.objectContaining({ limit: limits[period], ...used(model, line, period, Date.now()) }),
      ]),
    );
  expect(budgets).toEqual(shown(model.budgets, undefined));
  for (const key of model.keys) {
    const real = keys.find(({ id }) => id === key.id)!;
    expect(real.budgets).toEqual(shown(key.budgets, key.line));
    expect(real.state === "active" || real.state === "expiring").toBe(works(key));
    expect(real.lastUsedAt !== null).toBe(key.used);
  }

  let balance = 0;
  for (const [i, entry] of journal.entries()) {
    balance += entry.amount;
    expect(entry.sequence).toBe(i + 1);
    expect(entry.balance).toBe(balance);
    expect(balance).toBeGreaterThanOrEqual(0);
  }
  expect(balance).toBe(model.balance);
  expect(journal.length).toBe(model.last);

  const settled = journal.filter((entry) => entry.kind === "usage").map((entry) => entry.request_id);
  expect(new Set(settled).size).toBe(settled.length);
  expect(new Set(settled)).toEqual(new Set(model.closed.keys()));
  for (const [id, { request, cost }] of model.closed) {
    const charged = journal
      .filter((entry) => entry.request_id === id)
      .reduce((sum, entry) => sum - entry.amount, 0);
    expect(charged).toBe(cost);
    expect(charged).toBeLessThanOrEqual(request.hold);
  }

  const open = [...model.open.values()].map(({ id, hold }) => ({ request_id: id, held: hold }));
  expect(held).toEqual(open.toSorted((a, b) => (a.request_id < b.request_id ? -1 : 1)));
  const available = model.balance - heldOf(model);
  expect(available).toBeGreaterThanOrEqual(0);
  expect(memory).toEqual({ balance: model.balance, held: heldOf(model), available });
  expect(state).toEqual({ opening: 0, mark: model.mark, epoch: model.epoch });
}
