/**
 * Budgets: the most that an account, or a line of keys, may spend in a UTC day and in a UTC month. Hard: what is
 * settled and held in a period never exceeds the limit. A request belongs to the period that it was admitted in,
 * with its hold, its settlement and whatever comes late: all meet in the same one, however long it ran.
 *
 * Sums are kept by line and day, in memory. They are what the journal and the reservations say, so a request writes
 * no row for them: every thousand entries the days' sums are written down (`tallies`), and a start reads those and
 * the journal after them.
 */
import { and, asc, gt, gte, inArray, lt, sql } from "drizzle-orm";
import { DAY_MS, dayOf, monthOf } from "../clock.ts";
import { journal, reservations, tallies } from "../db/account/schema.ts";
import type { KeyId } from "../ids.ts";
import { type Nanodollars, nanodollars } from "../money.ts";
import type { Database } from "./ledger.ts";

/** Entries between two writings of the sums. */
export const TALLY_ROWS = 1_000;
/** Old days that one writing takes away. */
const MAX_FORGOTTEN = 500;

export type Period = "day" | "month";
export const PERIODS: readonly Period[] = ["day", "month"];

export interface Limits {
  readonly budgetDay: Nanodollars | null;
  readonly budgetMonth: Nanodollars | null;
}

export interface Budget {
  readonly of: "account" | "key";
  readonly period: Period;
  readonly limit: Nanodollars;
}

export interface BudgetState {
  readonly limit: Nanodollars;
  readonly spent: Nanodollars;
  readonly held: Nanodollars;
  readonly resetsAt: number;
}

/** Both budgets of an owner; null where none is set. */
export type BudgetStates = Readonly<Record<Period, BudgetState | null>>;

/** A budget that a hold does not fit into. */
export interface Exceeded extends BudgetState {
  readonly budget: Budget;
  /** It would fit if all that is held now came back. */
  readonly tiedUp: boolean;
}

/** Who the budgets are of. */
export interface Owners {
  /** The line of rotations that a key belongs to. */
  readonly lineOf: (key: KeyId) => KeyId;
  readonly limitsOf: (key: KeyId) => { readonly account: Limits; readonly key: Limits };
}

interface Sum {
  spent: bigint;
  held: bigint;
}

const ACCOUNT = "account";

export class Budgets {
  readonly #db: Database;
  readonly #owners: Owners;
  /** By line, and under `account` for all of them; then by day. */
  readonly #sums = new Map<string, Map<number, Sum>>();
  /** Lines and days whose sum has changed since it was written down. */
  readonly #changed = new Map<KeyId, Set<number>>();

  constructor(db: Database, owners: Owners) {
    this.#db = db;
    this.#owners = owners;
  }

  /**
   * The sums as the rows say them. `seen` is told of each request among the rows that no tally has.
   */
  load(tallied: number, now: number, seen: (key: KeyId, at: number) => void): void {
    const kept = this.#db
      .select()
      .from(tallies)
      .where(gte(tallies.day, oldest(now)))
      .all();
    for (const { keyId, day, spent } of kept) this.#add(keyId, day, BigInt(spent), 0n);
    for (let after = tallied; ; ) {
      const rows = this.#db
        .select({
          sequence: journal.sequence,
          keyId: journal.keyId,
          admittedAt: journal.admittedAt,
          amount: journal.amount,
        })
        .from(journal)
        .where(gt(journal.sequence, after))
        .orderBy(asc(journal.sequence))
        .limit(1_000)
        .all();
      for (const { keyId, admittedAt, amount } of rows) {
        if (keyId === null || admittedAt === null) continue; // a credit
        seen(keyId, admittedAt);
        this.charge(keyId, admittedAt, nanodollars(0 - amount));
      }
      if (rows.length === 0) break;
      after = rows.at(-1)!.sequence;
    }
    for (const { keyId, admittedAt, held } of this.#db.select().from(reservations).all()) {
      seen(keyId, admittedAt);
      this.hold(keyId, admittedAt, held);
    }
  }

  hold(key: KeyId, admittedAt: number, held: Nanodollars): void {
    this.#add(this.#lineOf(key), dayOf(admittedAt), 0n, BigInt(held));
  }

  free(key: KeyId, admittedAt: number, held: Nanodollars): void {
    this.#add(this.#lineOf(key), dayOf(admittedAt), 0n, -BigInt(held));
  }

  charge(key: KeyId, admittedAt: number, cost: Nanodollars): void {
    const [line, day] = [this.#lineOf(key), dayOf(admittedAt)];
    this.#add(line, day, BigInt(cost), 0n);
    const days = this.#changed.get(line) ?? new Set();
    this.#changed.set(line, days.add(day));
  }

  /**
   * A budget that a request of `key` with this hold, admitted at `at`, does not fit into: one that it cannot fit into
   * before a reset rather than one that only waits for what is in flight.
   */
  exceeded(key: KeyId, hold: Nanodollars, at: number): Exceeded | undefined {
    let waits: Exceeded | undefined;
    for (const budget of this.#applying(key)) {
      const state = this.#state(this.#owner(key, budget), budget.period, budget.limit, at);
      const need = BigInt(state.spent) + BigInt(hold);
      const { limit, held } = state;
      if (need > limit) return { ...state, budget, tiedUp: false };
      if (need + BigInt(held) > limit) waits ??= { ...state, budget, tiedUp: true };
    }
    return waits;
  }

  /** What a late count of a request may still take without passing a budget; undefined: no budget applies. */
  room(key: KeyId, admittedAt: number): Nanodollars | undefined {
    const rooms = this.#applying(key).map((budget) => {
      const sum = this.#sum(this.#owner(key, budget), budget.period, admittedAt);
      return BigInt(budget.limit) - sum.spent - sum.held;
    });
    const least = rooms.toSorted((a, b) => (a < b ? -1 : 1))[0];
    return least === undefined ? undefined : nanodollars(least < 0n ? 0n : least);
  }

  /** The budgets of a key's line, or without a key the account's, as of `now`. */
  states(key: KeyId | undefined, limits: Limits, now: number): BudgetStates {
    const owner = key === undefined ? ACCOUNT : this.#lineOf(key);
    const of = (period: Period, limit: Nanodollars | null) =>
      limit === null ? null : this.#state(owner, period, limit, now);
    return { day: of("day", limits.budgetDay), month: of("month", limits.budgetMonth) };
  }

  /** Writes the sums that have changed, and forgets days that no budget will ask for, in the caller's transaction. */
  write(db: Database, now: number): void {
    for (const [keyId, days] of this.#changed) {
      for (const day of days) {
        const spent = nanodollars(this.#sums.get(keyId)?.get(day)?.spent ?? 0n);
        db.insert(tallies)
          .values({ keyId, day, spent })
          .onConflictDoUpdate({ target: [tallies.keyId, tallies.day], set: { spent } })
          .run();
      }
    }
    const old = db
      .selectDistinct({ day: tallies.day })
      .from(tallies)
      .where(lt(tallies.day, oldest(now)))
      .limit(MAX_FORGOTTEN)
      .all();
    if (old.length > 0)
      db.delete(tallies)
        .where(
          inArray(
            tallies.day,
            old.map(({ day }) => day),
          ),
        )
        .run();
  }

  /** That transaction has held. */
  written(now: number): void {
    this.#changed.clear();
    for (const days of this.#sums.values()) {
      for (const [day, { held }] of days) if (day < oldest(now) && held === 0n) days.delete(day);
    }
  }

  /** Each a sentence: sums that are not what the journal and the reservations say. None means that all are. */
  audit(now: number): string[] {
    const since = oldest(now);
    // A number is bound as a real, and divides as one.
    const day = sql<number>`cast(${journal.admittedAt} / ${DAY_MS} as integer)`;
    const [spent, held] = [new Map<string, bigint>(), new Map<string, bigint>()];
    const into = (sums: Map<string, bigint>, key: KeyId, at: number, amount: bigint) => {
      for (const owner of [this.#lineOf(key), ACCOUNT]) {
        const name = `${owner} ${at}`;
        sums.set(name, (sums.get(name) ?? 0n) + amount);
      }
    };
    const entries = this.#db
      .select({ keyId: journal.keyId, day, sum: sql<string>`cast(sum(-${journal.amount}) as text)` })
      .from(journal)
      .where(and(sql`${journal.keyId} is not null`, gte(journal.admittedAt, since * DAY_MS)))
      .groupBy(journal.keyId, day)
      .all();
    for (const row of entries) into(spent, row.keyId!, row.day, BigInt(row.sum));
    for (const row of this.#db.select().from(reservations).all())
      into(held, row.keyId, dayOf(row.admittedAt), BigInt(row.held));
    const known = [...this.#sums].flatMap(([owner, days]) =>
      [...days].filter(([at]) => at >= since).map(([at, sum]) => [`${owner} ${at}`, sum] as const),
    );
    const memory = new Map<string, Sum>(known);
    const names = new Set<string>([...memory.keys(), ...spent.keys(), ...held.keys()]);
    return [...names].flatMap((name) => {
      const sum = memory.get(name) ?? { spent: 0n, held: 0n };
      const [s, h] = [spent.get(name) ?? 0n, held.get(name) ?? 0n];
      return sum.spent === s && sum.held === h
        ? []
        : [`day's sum of ${name} is ${sum.spent} and ${sum.held} held, its rows say ${s} and ${h}`];
    });
  }

  #lineOf(key: KeyId): KeyId {
    return this.#owners.lineOf(key);
  }

  #applying(id: KeyId): Budget[] {
    const { account, key } = this.#owners.limitsOf(id);
    const of = (whose: "account" | "key", period: Period, limit: Nanodollars | null): Budget[] =>
      limit === null ? [] : [{ of: whose, period, limit }];
    return [
      ...of("key", "day", key.budgetDay),
      ...of("key", "month", key.budgetMonth),
      ...of("account", "day", account.budgetDay),
      ...of("account", "month", account.budgetMonth),
    ];
  }

  #owner(key: KeyId, budget: Budget): string {
    return budget.of === "account" ? ACCOUNT : this.#lineOf(key);
  }

  #add(line: KeyId, day: number, spent: bigint, held: bigint): void {
    for (const owner of [line, ACCOUNT]) {
      const days = this.#sums.get(owner) ?? new Map<number, Sum>();
      this.#sums.set(owner, days);
      const sum = days.get(day) ?? { spent: 0n, held: 0n };
      days.set(day, { spent: sum.spent + spent, held: sum.held + held });
    }
  }

  #sum(owner: string, period: Period, at: number): Sum {
    const days = this.#sums.get(owner);
    const sum: Sum = { spent: 0n, held: 0n };
    for (let day = startOf(period, at); day < endOf(period, at); day++) {
      const one = days?.get(day);
      if (!one) continue;
      sum.spent += one.spent;
      sum.held += one.held;
    }
    return sum;
  }

  #state(owner: string, period: Period, limit: Nanodollars, at: number): BudgetState {
    const { spent, held } = this.#sum(owner, period, at);
    return {
      limit,
      spent: nanodollars(spent),
      held: nanodollars(held),
      resetsAt: endOf(period, at) * DAY_MS,
    };
  }
}

const startOf = (period: Period, at: number): number => (period === "day" ? dayOf(at) : monthOf(at));
const endOf = (period: Period, at: number): number => (period === "day" ? dayOf(at) + 1 : monthOf(at, 1));

/** The first day that is kept: last month's, for a clock that steps back and for counts that come late. */
const oldest = (now: number): number => monthOf(now, -1);
