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
  readonly deadlineAt: number;
  readonly epoch: number;
  /** By attempt: the number of the newest is the list's length. */
  readonly fates: Fate[];
  counted: Usage | undefined;
}

export interface Model {
  balance: number;
  last: number;
  mark: number;
  epoch: number;
  readonly keys: { hash: string; id: `key_${string}`; revoked: boolean }[];
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
    journal: sql.exec("select * from journal order by sequence").toArray() as unknown as Entry[],
    held: sql.exec("select request_id, held from reservations order by request_id").toArray(),
    state: sql.exec("select opening, mark, epoch from state").one(),
  }));
}

/** Every invariant, and that object, rows and model agree. */
export async function compare(model: Model, real: Real): Promise<void> {
  const { audit, memory, journal, held, state } = await look(real);
  expect(audit.findings).toEqual([]);

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
