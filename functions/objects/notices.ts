/**
 * What an account's webhooks have to tell, kept in the account's own database: a notice is a row that is written in
 * the transaction of the change that caused it, sent with the outbox, and deleted when D1 has it. Nothing is written
 * for accounts whose endpoints ask for nothing, so an ordinary request stays at its three rows.
 *
 * Thresholds are levels with a memory: crossed is told once, however many requests run beyond the line, and so is its
 * end. A threshold that the customer changes forgets what was told.
 */
import { desc, eq, gte, inArray, sql } from "drizzle-orm";
import { monotonicFactory } from "ulid";
import { DAY_MS, dayOf, iso, MINUTE_MS, monthOf } from "../clock.ts";
import { alerts, credits, journal, notices, type UsageThreshold } from "../db/account/schema.ts";
import type { AccountId, EventId } from "../ids.ts";
import { formatUsd, minus, type Nanodollars, nanodollars, plus } from "../money.ts";
import type { EventData, NoticeType } from "../webhooks/events.ts";
import type { Database } from "./ledger.ts";

export type Notice = typeof notices.$inferSelect;
type Alerts = Omit<typeof alerts.$inferSelect, "id">;
type Transaction = Pick<Database, "insert">;
type Period = UsageThreshold["period"];

/** What the customer set: thresholds of `balance.low` and of `usage.threshold`. */
export interface Thresholds {
  readonly balanceLow: Nanodollars | null;
  readonly usage: readonly { readonly period: Period; readonly amount: Nanodollars }[];
}

/** A journal entry, as far as thresholds care. */
export interface Posted {
  readonly kind: "usage" | "adjustment" | "credit";
  readonly at: number;
  readonly amount: Nanodollars;
  readonly balance: Nanodollars;
  readonly reference?: string | null;
}

/** What D1 has not confirmed by then is sent again. */
const RESEND_MS = 1 * MINUTE_MS;
const MAX_TOLD = 500;

const nothing: Alerts = { wanted: [], balanceLow: null, low: false, usage: [], told: {} };
/** Notices of one millisecond keep their order. */
const ulid = monotonicFactory();

export class Notices {
  readonly #db: Database;
  readonly #account: AccountId;
  #alerts: Alerts;
  /** Rows that D1 has not confirmed, and when each was last sent; 0: not in this life of the object. */
  readonly #waiting: Map<EventId, number>;
  /**
   * For each period, its start, and what `balance` would be had nothing been spent in it: spent = base - balance.
   * Credits raise it. Worked out when first needed.
   */
  readonly #bases = new Map<Period, { start: number; base: Nanodollars }>();

  constructor(db: Database, account: AccountId) {
    this.#db = db;
    this.#account = account;
    const { id: _, ...kept } = db.select().from(alerts).get() ?? { id: 1, ...nothing };
    this.#alerts = kept;
    this.#waiting = new Map(
      db
        .select({ id: notices.id })
        .from(notices)
        .all()
        .map(({ id }) => [id, 0]),
    );
  }

  // What the customer asks for.

  /**
   * What endpoints ask for from now on, beside what they did. It only grows: to write a row too many costs nothing,
   * and an endpoint that is made while another is deleted must not lose its events.
   */
  want(types: readonly string[]): void {
    const wanted = [...new Set([...this.#alerts.wanted, ...types])].sort();
    if (wanted.length > this.#alerts.wanted.length) this.#keep({ ...this.#alerts, wanted });
  }

  get thresholds(): Thresholds {
    const { balanceLow, usage } = this.#alerts;
    return { balanceLow, usage: usage.map(({ period, amount }) => ({ period, amount })) };
  }

  /** One that stays as it was keeps its memory; a new or changed one is armed, and told at once where it is crossed. */
  setThresholds(given: Thresholds, balance: Nanodollars, now: number): void {
    const before = this.#alerts;
    const kept = (one: { period: Period; amount: Nanodollars }) =>
      before.usage.find((old) => old.period === one.period && old.amount === one.amount);
    const changed = given.balanceLow !== before.balanceLow;
    const armed: Alerts = {
      ...before,
      balanceLow: given.balanceLow,
      // Raised while it was low, it is told again; lowered below the balance, its end is told.
      low: changed && (given.balanceLow === null || balance < given.balanceLow) ? false : before.low,
      usage: given.usage.map((one) => kept(one) ?? { ...one, crossedIn: null }),
    };
    // Followed only while somebody watches: what is known of a period may be old.
    this.#bases.clear();
    this.#db.transaction((tx) => {
      const { next, told } = this.#look(armed, balance, now);
      this.#save(tx, next);
      this.#write(tx, told, now);
      this.#alerts = next;
    });
  }

  // What happens.

  /**
   * Tells one thing, where an endpoint wants it. Call it in the same synchronous turn as the change, or in its
   * transaction. Answers whether there is something to send.
   */
  add(type: NoticeType, data: EventData, now: number, tx: Transaction = this.#db): boolean {
    if (!this.#alerts.wanted.includes(type)) return false;
    this.#write(tx, [{ type, data }], now);
    return true;
  }

  /** As `add`, but once an occasion of a subject: a budget that refuses a thousand requests a day is told once. */
  once(subject: string, occasion: string, type: NoticeType, data: EventData, now: number): boolean {
    if (!this.#alerts.wanted.includes(type) || this.#alerts.told[subject] === occasion) return false;
    const others = Object.entries(this.#alerts.told).filter(([name]) => name !== subject);
    const told = Object.fromEntries([...others, [subject, occasion]].slice(-MAX_TOLD));
    const next = { ...this.#alerts, told };
    this.#db.transaction((tx) => {
      this.#save(tx, next);
      this.#write(tx, [{ type, data }], now);
    });
    this.#alerts = next;
    return true;
  }

  /**
   * A journal entry, in its own transaction. The answer is to be called when that has been committed: memory follows
   * rows. `before` is the balance before the entry.
   */
  posted(tx: Transaction, entry: Posted, before: Nanodollars): () => void {
    const { amount, balance, at, reference = null } = entry;
    const credited =
      entry.kind === "credit" && amount > 0 && this.#alerts.wanted.includes("balance.credited");
    const watched = this.#alerts.balanceLow !== null || this.#alerts.usage.length > 0;
    if (!credited && !watched) return () => {};
    this.#roll(at, before, entry);
    const { next, told } = this.#look(this.#alerts, balance, at);
    if (next !== this.#alerts) this.#save(tx, next);
    const data = { account: this.#account, ...usd("amount", amount), ...usd("balance", balance), reference };
    this.#write(tx, credited ? [{ type: "balance.credited", data }, ...told] : told, at);
    return () => {
      this.#alerts = next;
    };
  }

  /** Periods that ended: what was crossed in them is over. Answers whether there is something to send. */
  passTime(balance: Nanodollars, now: number): boolean {
    if ((this.nextEnd() ?? now + 1) > now) return false;
    const { next, told } = this.#look(this.#alerts, balance, now);
    this.#db.transaction((tx) => {
      this.#save(tx, next);
      this.#write(tx, told, now);
    });
    this.#alerts = next;
    return told.length > 0;
  }

  /** When the first crossed period ends. */
  nextEnd(): number | undefined {
    const ends = this.#alerts.usage.flatMap(({ period, crossedIn }) =>
      crossedIn === null ? [] : [endOf(period, crossedIn)],
    );
    return ends.length > 0 ? Math.min(...ends) : undefined;
  }

  // On its way.

  get waiting(): boolean {
    return this.#waiting.size > 0;
  }

  /** Those to send now, oldest first: new ones, and those that D1 has not confirmed in time. */
  unsent(now: number, limit: number): Notice[] {
    const ids = [...this.#waiting].filter(([, sentAt]) => sentAt <= now - RESEND_MS).map(([id]) => id);
    if (ids.length === 0) return [];
    const asked = ids.sort().slice(0, limit);
    const rows = this.#db.select().from(notices).where(inArray(notices.id, asked)).orderBy(notices.id).all();
    // One whose transaction was rolled back is no row.
    const there = new Set(rows.map(({ id }) => id));
    for (const id of asked) if (!there.has(id)) this.#waiting.delete(id);
    return rows;
  }

  sent(ids: readonly EventId[], now: number): void {
    for (const id of ids) if (this.#waiting.has(id)) this.#waiting.set(id, now);
  }

  /** When the first has to be sent again. */
  nextResend(): number | undefined {
    const times = [...this.#waiting.values()].filter((sentAt) => sentAt > 0);
    return times.length > 0 ? Math.min(...times) + RESEND_MS : undefined;
  }

  /** D1 has them. */
  told(ids: readonly EventId[]): void {
    if (ids.length > 0) this.#db.delete(notices).where(inArray(notices.id, ids)).run();
    for (const id of ids) this.#waiting.delete(id);
  }

  // Levels.

  /** What the state becomes at this balance and time, and what that tells. The same object: nothing changes. */
  #look(state: Alerts, balance: Nanodollars, now: number): { next: Alerts; told: Told[] } {
    const account = this.#account;
    const told: Told[] = [];
    let next = state;
    const { balanceLow } = state;
    const low = balanceLow !== null && balance < balanceLow;
    if (low !== state.low) {
      next = { ...next, low };
      if (balanceLow !== null) {
        const data = { account, ...usd("threshold", balanceLow), ...usd("balance", balance) };
        told.push({ type: low ? "balance.low" : "balance.low.recovered", data });
      }
    }
    const usage = state.usage.map((threshold) => {
      const { period, amount } = threshold;
      const start = startOf(period, now);
      const over = threshold.crossedIn !== null && threshold.crossedIn < start;
      const spent = this.#spent(period, balance, now);
      const crossed = spent >= amount;
      const tell = (type: NoticeType, at: number) =>
        told.push({
          type,
          data: {
            account,
            period,
            period_start: iso(at),
            ...usd("amount", amount),
            ...usd("spent", spent),
          },
        });
      if (over) tell("usage.threshold.recovered", start);
      if (crossed && threshold.crossedIn !== start) {
        tell("usage.threshold", start);
        return { ...threshold, crossedIn: start };
      }
      return over ? { ...threshold, crossedIn: null } : threshold;
    });
    if (usage.some((one, i) => one !== state.usage[i])) next = { ...next, usage };
    return { next, told };
  }

  /** Spent in the running period, exactly: from the balance, not from a sum over all of its rows. */
  #spent(period: Period, balance: Nanodollars, now: number): Nanodollars {
    const start = startOf(period, now);
    let known = this.#bases.get(period);
    if (known?.start !== start) {
      known = { start, base: this.#baseOf(start, balance) };
      this.#bases.set(period, known);
    }
    return minus(known.base, balance);
  }

  /** The balance when the period began, and what was credited since. */
  #baseOf(start: number, balance: Nanodollars): Nanodollars {
    const row = (sequence: number) =>
      this.#db.select().from(journal).where(eq(journal.sequence, sequence)).get();
    const newest = this.#db.select().from(journal).orderBy(desc(journal.sequence)).limit(1).get();
    const oldest = this.#db.select().from(journal).orderBy(journal.sequence).limit(1).get();
    if (!newest || !oldest || newest.at < start) return balance;
    // Rows have no index on their time, and rise in it: the first of the period by halving.
    let [low, high] = [oldest.sequence, newest.sequence];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if ((row(middle)?.at ?? 0) >= start) high = middle;
      else low = middle + 1;
    }
    const first = row(low)!;
    const credited = this.#db
      .select({ sum: sql<string>`cast(coalesce(sum(${journal.amount}), 0) as text)` })
      .from(credits)
      .innerJoin(journal, eq(journal.sequence, credits.sequence))
      .where(gte(credits.sequence, low))
      .get();
    return nanodollars(BigInt(minus(first.balance, first.amount)) + BigInt(credited?.sum ?? "0"));
  }

  /** Before an entry is looked at: bases of its period, and a credit is no income of spending. */
  #roll(at: number, before: Nanodollars, entry: Posted): void {
    for (const { period } of this.#alerts.usage) {
      const start = startOf(period, at);
      const known = this.#bases.get(period);
      // Unknown, it is worked out from the rows, of which this entry is one by now.
      if (known === undefined) continue;
      const base = known.start === start ? known.base : before;
      this.#bases.set(period, { start, base: entry.kind === "credit" ? plus(base, entry.amount) : base });
    }
  }

  // Rows.

  #keep(next: Alerts): void {
    this.#save(this.#db, next);
    this.#alerts = next;
  }

  #save(tx: Transaction, next: Alerts): void {
    tx.insert(alerts)
      .values({ id: 1, ...next })
      .onConflictDoUpdate({ target: alerts.id, set: next })
      .run();
  }

  #write(tx: Transaction, told: readonly Told[], now: number): void {
    for (const { type, data } of told) {
      if (!this.#alerts.wanted.includes(type)) continue;
      const id: EventId = `evt_${ulid(now)}`;
      tx.insert(notices).values({ id, type, at: now, data }).run();
      this.#waiting.set(id, 0);
    }
  }
}

interface Told {
  readonly type: NoticeType;
  readonly data: EventData;
}

const usd = (name: string, value: Nanodollars) => ({
  [name]: formatUsd(value),
  [`${name}_nanodollars`]: String(value),
});

/** Periods are UTC's days and months. */
const startOf = (period: Period, at: number): number => (period === "day" ? dayOf(at) : monthOf(at)) * DAY_MS;

const endOf = (period: Period, start: number): number =>
  (period === "day" ? dayOf(start) + 1 : monthOf(start, 1)) * DAY_MS;
