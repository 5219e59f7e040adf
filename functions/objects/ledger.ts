/**
 * The account's money: reservations and the journal, on the object's SQLite. Every change is one synchronous
 * transaction; what is kept in memory (balance, held, last sequence) is assigned after it and recomputed from the
 * rows at every start. Invariants: balance = opening + sum of entries; held = sum of open reservations;
 * available = balance - held, never below zero; a request id settles at most once (its reservation's delete is
 * the check).
 */
import { and, count, desc, eq, gt, lt, lte, sql } from "drizzle-orm";
import { type DrizzleSqliteDODatabase, drizzle } from "drizzle-orm/durable-sqlite";
import type { AdmitQuery, Receipt, Settlement } from "../admission/holder.ts";
import { MINUTE_MS } from "../clock.ts";
import { credits, inquiries, journal, reservations, state } from "../db/account/schema.ts";
import type { AttemptId, KeyId, RequestId } from "../ids.ts";
import {
  least,
  minus,
  type Nanodollars,
  nanodollars,
  plus,
  price,
  type Rates,
  type Usage,
  ZERO,
} from "../money.ts";
import type { Budgets } from "./budgets.ts";
import { forget, remember } from "./idempotency.ts";
import type { Notices } from "./notices.ts";
import { insertInto } from "./prepared.ts";

export type JournalRow = typeof journal.$inferSelect;
export type Reservation = typeof reservations.$inferSelect;
export type Inquiry = typeof inquiries.$inferSelect;
/** The object's database, or a transaction on it. */
export type Database = Pick<
  DrizzleSqliteDODatabase,
  "select" | "selectDistinct" | "insert" | "update" | "delete" | "get" | "transaction"
>;

export const openDatabase = (storage: DurableObjectStorage): DrizzleSqliteDODatabase => drizzle(storage);

/** A reservation's pinned rates, as price() takes them. */
export const ratesOf = (row: Pick<Reservation, "inputRate" | "cachedInputRate" | "outputRate">): Rates => ({
  input: row.inputRate,
  cachedInput: row.cachedInputRate,
  output: row.outputRate,
});

export class Ledger {
  readonly #db: Database;
  readonly #budgets: Budgets;
  readonly #notices: Notices;
  /** The three statements of a request. */
  readonly #insertReservation: (row: Reservation) => void;
  readonly #takeReservation: (requestId: RequestId) => Reservation | undefined;
  readonly #insertEntry: (row: typeof journal.$inferInsert) => void;
  #balance: Nanodollars = ZERO;
  #held: Nanodollars = ZERO;
  #last = 0;

  /** The budgets have been loaded from the same rows. */
  constructor(db: Database, opening: Nanodollars, budgets: Budgets, notices: Notices) {
    this.#db = db;
    this.#budgets = budgets;
    this.#notices = notices;
    this.#insertReservation = insertInto(db, reservations);
    this.#insertEntry = insertInto(db, journal);
    const taken = db
      .delete(reservations)
      .where(eq(reservations.requestId, sql.placeholder("requestId")))
      .returning()
      .prepare();
    this.#takeReservation = (requestId) => taken.get({ requestId });
    const last = db.select().from(journal).orderBy(desc(journal.sequence)).limit(1).get();
    this.#last = last?.sequence ?? 0;
    this.#balance = last?.balance ?? opening;
    this.#held = sumOf(db.select({ held: reservations.held }).from(reservations).all());
  }

  get balance(): Nanodollars {
    return this.#balance;
  }
  get held(): Nanodollars {
    return this.#held;
  }
  get available(): Nanodollars {
    return minus(this.#balance, this.#held);
  }
  /** The journal's newest sequence; 0 before the first. */
  get last(): number {
    return this.#last;
  }

  /** The most that a request can cost: every token of the bound at the rates that it pins. */
  static hold(query: AdmitQuery): Nanodollars {
    return price({ input: query.maxInput, cachedInput: 0, output: query.maxOutput }, query.price);
  }

  /**
   * Writes the reservation, and what an `Idempotency-Key` then has done. The caller has checked the key, the limits
   * and the budgets; false: not enough is available.
   */
  reserve(query: AdmitQuery, keyId: KeyId, epoch: number, attempt: AttemptId, now: number): boolean {
    const held = Ledger.hold(query);
    if (held > this.available) return false;
    const { once } = query;
    const row = {
      requestId: query.requestId,
      keyId,
      model: query.model,
      held,
      maxInput: query.maxInput,
      maxOutput: query.maxOutput,
      priceId: query.price.id,
      inputRate: query.price.input,
      cachedInputRate: query.price.cachedInput,
      outputRate: query.price.output,
      admittedAt: now,
      deadlineAt: query.deadlineMs,
      epoch,
      attempt,
      backend: query.backend,
      region: query.region,
      counted: null,
      once: once?.id ?? null,
    };
    if (once) {
      this.#db.transaction((tx) => {
        this.#insertReservation(row);
        remember(tx, once, query.requestId, now);
      });
    } else this.#insertReservation(row);
    this.#held = plus(this.#held, held);
    this.#budgets.hold(keyId, now, held);
    return true;
  }

  /** Posts what a request cost, never more than its hold. The deleted reservation comes back with the receipt. */
  settle(settlement: Settlement, now: number): Receipt & { reservation?: Reservation } {
    const posted = this.#db.transaction((tx) => {
      const reservation = this.#takeReservation(settlement.requestId);
      if (!reservation) return undefined;
      const { usage } = settlement;
      const cost = least(price(usage, ratesOf(reservation)), reservation.held);
      const entry = {
        sequence: this.#last + 1,
        kind: "usage" as const,
        at: now,
        amount: minus(ZERO, cost),
        balance: minus(this.#balance, cost),
        requestId: reservation.requestId,
        keyId: reservation.keyId,
        model: reservation.model,
        region: settlement.region,
        backend: settlement.backend,
        ending: settlement.ending,
        finishReason: settlement.finishReason,
        input: usage.input,
        cachedInput: usage.cachedInput,
        output: usage.output,
        reasoning: usage.reasoning,
        source: usage.source,
        priceId: reservation.priceId,
        held: reservation.held,
        admittedAt: reservation.admittedAt,
        ttftMs: settlement.ttftMs,
        durationMs: settlement.durationMs,
        attempts: settlement.attempts,
        trace: settlement.trace ?? null,
      };
      this.#insertEntry(entry);
      const { once, admittedAt } = reservation;
      if (once !== null && settlement.delivered === false && cost === 0) forget(tx, once, admittedAt);
      const keep = this.#notices.posted(tx, entry, this.#balance);
      return { cost, reservation, balance: entry.balance, keep };
    });
    if (!posted) return { posted: false, cost: this.#costOf(settlement.requestId) };
    this.#last += 1;
    this.#balance = posted.balance;
    const { reservation, cost } = posted;
    this.#held = minus(this.#held, reservation.held);
    this.#budgets.free(reservation.keyId, reservation.admittedAt, reservation.held);
    this.#budgets.charge(reservation.keyId, reservation.admittedAt, cost);
    posted.keep();
    return { posted: true, cost, reservation };
  }

  /** What a reference has credited before; undefined: nothing yet. */
  credited(reference: string): Nanodollars | undefined {
    const before = this.#db.select().from(credits).where(eq(credits.reference, reference)).get();
    return before && this.after(before.sequence - 1, 1)[0]?.amount;
  }

  /** Adds money once a reference. Returns the balance, and whether this call added it. */
  credit(amount: Nanodollars, reference: string, now: number): { credited: boolean; balance: Nanodollars } {
    const posted = this.#db.transaction((tx) => {
      const before = tx.select().from(credits).where(eq(credits.reference, reference)).get();
      if (before) return undefined;
      const sequence = this.#last + 1;
      const balance = plus(this.#balance, amount);
      const entry = { sequence, kind: "credit" as const, at: now, amount, balance, reference };
      tx.insert(credits).values({ reference, sequence }).run();
      this.#insertEntry(entry);
      return { balance, keep: this.#notices.posted(tx, entry, this.#balance) };
    });
    if (!posted) return { credited: false, balance: this.#balance };
    this.#last += 1;
    this.#balance = posted.balance;
    posted.keep();
    return { credited: true, balance: posted.balance };
  }

  /**
   * A count that came after the settlement. Posts the difference to what was charged, within the hold of then, what
   * is available now and what the budgets of its period have left (a late count overdraws neither), and ends the
   * inquiry in the same transaction.
   */
  adjust(inquiry: Inquiry, usage: Usage, now: number): void {
    const posted = this.#db.transaction((tx) => {
      tx.delete(inquiries).where(eq(inquiries.requestId, inquiry.requestId)).run();
      const settled = tx.select().from(journal).where(eq(journal.sequence, inquiry.sequence)).get();
      if (!settled) return undefined;
      const due = least(price(usage, ratesOf(inquiry)), inquiry.held);
      const { keyId, admittedAt } = settled;
      if (keyId === null || admittedAt === null) throw new Error("only a request's entry is asked after");
      const available = least(this.available, this.#budgets.room(keyId, admittedAt) ?? this.available);
      const rest = least(minus(due, minus(ZERO, settled.amount)), available);
      const { sequence: _, ...same } = settled;
      if (rest <= 0) return undefined;
      const entry = {
        ...same,
        sequence: this.#last + 1,
        kind: "adjustment" as const,
        at: now,
        amount: minus(ZERO, rest),
        balance: minus(this.#balance, rest),
        input: Math.max(0, usage.input - (settled.input ?? 0)),
        cachedInput: Math.max(0, usage.cachedInput - (settled.cachedInput ?? 0)),
        output: Math.max(0, usage.output - (settled.output ?? 0)),
        reasoning: Math.max(0, usage.reasoning - (settled.reasoning ?? 0)),
        source: usage.source,
        ttftMs: null,
        durationMs: null,
        trace: null,
      };
      this.#insertEntry(entry);
      const keep = this.#notices.posted(tx, entry, this.#balance);
      return { balance: entry.balance, rest, keyId, admittedAt, keep };
    });
    if (!posted) return;
    this.#last += 1;
    this.#balance = posted.balance;
    this.#budgets.charge(posted.keyId, posted.admittedAt, posted.rest);
    posted.keep();
  }

  checkpoint(at: {
    requestId: RequestId;
    attempt: AttemptId;
    backend: string;
    region: string;
    usage?: Usage;
  }): void {
    const { requestId, usage, ...placement } = at;
    // A count is its attempt's own: a failover starts at nothing.
    const ofSame = sql`case when ${reservations.attempt} = ${at.attempt} then ${reservations.counted} end`;
    this.#db
      .update(reservations)
      .set({ ...placement, counted: usage ?? ofSame })
      // What comes late from an attempt that was given up says nothing of the next.
      .where(and(eq(reservations.requestId, requestId), lte(reservations.attempt, placement.attempt)))
      .run();
  }

  open(requestId: RequestId): Reservation | undefined {
    return this.#db.select().from(reservations).where(eq(reservations.requestId, requestId)).get();
  }

  reservations(): Reservation[] {
    return this.#db.select().from(reservations).all();
  }

  /** Journal rows after `sequence`, oldest first. */
  after(sequence: number, limit: number): JournalRow[] {
    return this.#db
      .select()
      .from(journal)
      .where(gt(journal.sequence, sequence))
      .orderBy(journal.sequence)
      .limit(limit)
      .all();
  }

  /** Journal rows between two sequences, both exclusive, newest first. */
  before(sequence: number, after: number, limit: number): JournalRow[] {
    return this.#db
      .select()
      .from(journal)
      .where(and(lt(journal.sequence, sequence), gt(journal.sequence, after)))
      .orderBy(desc(journal.sequence))
      .limit(limit)
      .all();
  }

  get openRequests(): number {
    return this.#db.select({ n: count() }).from(reservations).get()?.n ?? 0;
  }

  /** Requests whose count is still asked for. */
  awaited(): RequestId[] {
    return this.#db
      .select({ id: inquiries.requestId })
      .from(inquiries)
      .limit(1_000)
      .all()
      .map((row) => row.id);
  }

  /** A settled request among the newest rows (D1 has the older ones): its entry and its adjustments. */
  settled(requestId: RequestId, mark: number): JournalRow[] {
    return this.after(mark, 10_000).filter((row) => row.requestId === requestId);
  }

  /** Requests of the last minute, newest first, for the rate windows: settled ones from the journal's end. */
  settledSince(now: number): JournalRow[] {
    const rows: JournalRow[] = [];
    for (let before = this.#last; before > 0; before -= 500) {
      const page = this.after(Math.max(0, before - 500), Math.min(500, before));
      rows.push(...page.filter((row) => row.kind === "usage" && (row.admittedAt ?? 0) > now - MINUTE_MS));
      if (!page[0] || page[0].at <= now - MINUTE_MS) break;
    }
    return rows;
  }

  /** Recomputes the money from the rows alone. Sums come back as text: they may pass 2^53. */
  recompute(): { entries: bigint; broken: number; doubled: number; held: Nanodollars } {
    const sums = this.#db.get<{ entries: string; broken: number }>(sql`
      select cast(coalesce(sum(amount), 0) as text) as entries, coalesce(sum(broken), 0) as broken from (
        select amount, balance - amount - coalesce(lag(balance) over (order by sequence), (select opening from ${state})) <> 0
          or sequence <> coalesce(lag(sequence) over (order by sequence) + 1, sequence) as broken
        from ${journal})`);
    const doubled = this.#db.get<{ n: number }>(sql`
      select count(*) as n from (select request_id from ${journal} where kind = 'usage' group by request_id having count(*) > 1)`);
    const held = sumOf(this.reservations());
    return { entries: BigInt(sums.entries), broken: sums.broken, doubled: doubled.n, held };
  }

  /** What an already settled request cost, if that is among the newest rows (request ids have no index here). */
  #costOf(requestId: RequestId): Nanodollars {
    const rows = this.after(Math.max(0, this.#last - 1_000), 1_000).filter(
      (row) => row.requestId === requestId,
    );
    return rows.reduce((cost, row) => minus(cost, row.amount), ZERO);
  }
}

function sumOf(rows: readonly { held: Nanodollars }[]): Nanodollars {
  return nanodollars(rows.reduce((total, row) => total + row.held, 0));
}
