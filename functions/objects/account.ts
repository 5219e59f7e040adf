/**
 * The account's object: the authority for its keys, limits, money and journal, and the first holder of leases.
 * One alarm serves everything that has to happen later (outbox, expiry, late counts); there are no timers, since
 * an object that is kept awake costs money. What the alarm does is in expiry.ts and in `#flush` below.
 */
import { DurableObject } from "cloudflare:workers";
import { eq } from "drizzle-orm";
import { migrate } from "drizzle-orm/durable-sqlite/migrator";
import migrations from "../../migrations/account/migrations.js";
import type { Admission, AdmitQuery, Holder, Receipt, Settlement } from "../admission/holder.ts";
import { type Scope, scopesOf } from "../auth/scopes.ts";
import { MINUTE_MS, SECOND_MS } from "../clock.ts";
import { keys, state } from "../db/account/schema.ts";
import type { Env } from "../env.ts";
import {
  type ApiError,
  badKey,
  balanceInFlight,
  invalid,
  noBalance,
  notFound,
  outsideResidency,
  rateLimited,
} from "../errors.ts";
import { type AccountId, type AttemptId, attemptId, type KeyId, newLeaseId, type RequestId } from "../ids.ts";
import { formatUsd, type Nanodollars, nanodollars, type Usage, ZERO } from "../money.ts";
import { messages } from "../usage/outbox.ts";
import { type ExpiryContext, expire, inquire, type Looks, nextWake } from "./expiry.ts";
import { type Database, type JournalRow, Ledger, openDatabase } from "./ledger.ts";
import { type KeyLimits, RateWindows } from "./windows.ts";

/** From a settlement to the message that carries it: what comes in between travels together. */
const FLUSH_MS = 1 * SECOND_MS;
/** When D1 has not confirmed by then, rows are sent again from its mark. */
const RESEND_MS = 1 * MINUTE_MS;
/** Rows read and sent a flush. */
const FLUSH_ROWS = 1_000;

export type KeyRow = typeof keys.$inferSelect;
/** A key as the admin API shows it. */
export type KeyView = Omit<KeyRow, "hash">;

export interface Identity {
  readonly account: AccountId;
  readonly key: KeyId;
  readonly name: string;
  readonly hint: string;
  readonly scopes: readonly Scope[];
}

export interface NewKey extends KeyLimits {
  readonly id: KeyId;
  readonly name: string;
  readonly hash: string;
  readonly hint: string;
  readonly residency?: readonly string[] | null;
}

export interface BalanceView {
  readonly balance: Nanodollars;
  readonly held: Nanodollars;
  readonly available: Nanodollars;
}

export type RequestView =
  | {
      readonly state: "open";
      readonly model: string;
      readonly region: string;
      readonly backend: string;
      readonly keyId: KeyId;
      readonly admittedAt: number;
      readonly held: Nanodollars;
    }
  | { readonly state: "settled"; readonly rows: readonly JournalRow[] };

export interface Standing {
  readonly last: number;
  /** When the first entry beyond the mark was settled; null: there is none. */
  readonly nextAt: number | null;
  readonly open: number;
  readonly held: Nanodollars;
  /** Requests that were settled without a count which may still come. */
  readonly awaited: readonly RequestId[];
}

export interface JournalWindow {
  readonly rows: readonly JournalRow[];
  readonly last: number;
  readonly awaited: readonly RequestId[];
}

export interface AccountAudit extends BalanceView {
  readonly account: AccountId;
  readonly opening: Nanodollars;
  readonly last: number;
  readonly mark: number;
  readonly openReservations: number;
  /** Each a sentence; none means that the object's books are right. */
  readonly findings: readonly string[];
}

export class AccountObject extends DurableObject<Env> implements Holder {
  readonly #db: Database;
  #state: typeof state.$inferSelect | undefined;
  #ledger!: Ledger;
  #keys = new Map<string, KeyRow>();
  readonly #windows = new RateWindows();
  /** The highest sequence sent in this life of the object, and when D1's mark last moved or sending began. */
  #sent = 0;
  #confirmedAt = 0;
  #flushAt: number | undefined;
  #alarmAt: number | null = null;
  readonly #looks: Looks = new Map();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#db = openDatabase(ctx.storage);
    ctx.blockConcurrencyWhile(async () => {
      await migrate(this.#db, migrations);
      this.#alarmAt = await ctx.storage.getAlarm();
      this.#state = this.#db.select().from(state).get();
      if (this.#state) await this.#start();
    });
  }

  /** A new life of the object: a new epoch, memory from rows, and a look at what an earlier life left behind. */
  async #start(): Promise<void> {
    const now = Date.now();
    const leaseId = newLeaseId();
    const opened = this.#db
      .update(state)
      .set({ epoch: this.#state!.epoch + 1, leaseId })
      .returning()
      .get();
    this.#state = opened;
    this.#ledger = new Ledger(this.#db, opened.opening);
    this.#keys = new Map(
      this.#db
        .select()
        .from(keys)
        .all()
        .map((row) => [row.hash, row]),
    );
    for (const row of this.#ledger.settledSince(now).reverse()) {
      this.#windows.record(row.keyId!, row.requestId!, usedTokens(row), row.admittedAt!);
    }
    for (const row of this.#ledger.reservations()) {
      if (row.admittedAt > now - MINUTE_MS) {
        this.#windows.record(row.keyId, row.requestId, row.maxInput + row.maxOutput, row.admittedAt);
      }
    }
    this.#sent = opened.mark;
    if (this.#ledger.last > opened.mark) this.#flushAt = now + FLUSH_MS;
    await this.#schedule(now);
  }

  /** Makes the account's books. D1 has listed the account before; opening twice changes nothing. */
  async open(account: AccountId): Promise<void> {
    if (this.#state) return;
    this.#state = this.#db
      .insert(state)
      .values({
        id: 1,
        account,
        openedAt: Date.now(),
        opening: ZERO,
        mark: 0,
        epoch: 0,
        leaseId: newLeaseId(),
      })
      .returning()
      .get();
    await this.#start();
  }

  // The holder's side of a request.

  async admit(query: AdmitQuery): Promise<Admission> {
    const now = Date.now();
    const key = this.#activeKey(query.keyHash);
    if (!key || !this.#state) return { ok: false, error: badKey() };
    const residency = narrowed(this.#state.residency, key.residency);
    if (residency && !residency.includes(query.jurisdiction ?? "")) {
      return { ok: false, error: outsideResidency(query.model, residency), residency };
    }
    const tokens = query.maxInput + query.maxOutput;
    if (key.tokensPerMinute !== null && tokens > key.tokensPerMinute) {
      const message = `This request may use ${tokens} tokens and its key is limited to ${key.tokensPerMinute} a minute: it can never pass. Lower max_tokens or shorten the messages.`;
      return {
        ok: false,
        error: invalid(message, "max_tokens", "request_exceeds_limit"),
        limits: this.#limits(key, now),
      };
    }
    const decision = this.#windows.decide(key.id, key, tokens, now);
    if (!decision.ok) {
      const seconds = Math.min(60, Math.max(1, Math.ceil(decision.retryAfterMs / 1000)));
      const message = `This key's limit of ${decision.limit} a minute is reached. Ask again in ${seconds} s.`;
      return { ok: false, error: rateLimited(message, seconds), limits: this.#limits(key, now) };
    }
    const held = Ledger.hold(query);
    if (!this.#ledger.reserve(query, key.id, this.#state.epoch, attemptId(query.requestId, 1), now)) {
      return { ok: false, error: this.#cannotPay(held), limits: this.#limits(key, now) };
    }
    this.#windows.record(key.id, query.requestId, tokens, now);
    await this.#wake(query.deadlineMs);
    const { account, leaseId, epoch } = this.#state;
    const limits = this.#limits(key, now);
    return { ok: true, account, key: key.id, leaseId, epoch, held, limits, ...(residency && { residency }) };
  }

  async checkpoint(at: {
    requestId: RequestId;
    attempt: AttemptId;
    backend: string;
    region: string;
    usage?: Usage;
  }): Promise<void> {
    this.#ledger.checkpoint(at);
  }

  async settle(settlement: Settlement): Promise<Receipt> {
    const { posted, cost } = this.#settle(settlement);
    if (posted) await this.#flushSoon();
    return { posted, cost };
  }

  #settle(settlement: Omit<Settlement, "leaseId" | "epoch">): Receipt {
    const { posted, cost, reservation } = this.#ledger.settle(settlement as Settlement, Date.now());
    if (reservation)
      this.#windows.correct(reservation.keyId, reservation.requestId, usedTokens(settlement.usage));
    return { posted, cost };
  }

  /** A balance that is only tied up is a 429: clients come again. One that is really too small is a 402. */
  #cannotPay(held: Nanodollars): ApiError {
    const { balance, available } = this.#ledger;
    const need = `This request can cost up to ${formatUsd(held)} USD`;
    return held <= balance
      ? balanceInFlight(
          `${need}; ${formatUsd(available)} USD is available while other requests are in flight.`,
        )
      : noBalance(`${need}; the balance is ${formatUsd(balance)} USD. Top up, or lower max_tokens.`);
  }

  // Keys.

  /** Who a key is and what it may do, for requests that cost nothing. */
  async identify(keyHash: string): Promise<Identity | undefined> {
    const key = this.#activeKey(keyHash);
    if (!key || !this.#state) return undefined;
    const { id, name, hint } = key;
    return { account: this.#state.account, key: id, name, hint, scopes: scopesOf(key) };
  }

  async createKey(key: NewKey): Promise<KeyView> {
    const row = this.#db
      .insert(keys)
      .values({ ...key, createdAt: Date.now() })
      .returning()
      .get();
    this.#keys.set(row.hash, row);
    return view(row);
  }

  /** Null: any. In force with the next admission; what is running goes on. */
  async setResidency(residency: readonly string[] | null): Promise<readonly string[] | null> {
    this.#state = this.#db.update(state).set({ residency }).returning().get();
    return this.#state.residency;
  }

  async residency(): Promise<readonly string[] | null> {
    return this.#state?.residency ?? null;
  }

  async listKeys(): Promise<KeyView[]> {
    return [...this.#keys.values()].map(view).sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** In force with the next admission. Revoking twice keeps the first time. */
  async revokeKey(id: KeyId): Promise<KeyView | ApiError> {
    const key = this.#byId(id);
    if (!key) return notFound(`No key '${id}' in this account.`);
    return key.revokedAt === null ? this.#changeKey(id, { revokedAt: Date.now() }) : view(key);
  }

  async setKeyLimits(id: KeyId, limits: Partial<KeyLimits>): Promise<KeyView | ApiError> {
    const key = this.#byId(id);
    if (!key) return notFound(`No key '${id}' in this account.`);
    const { requestsPerMinute = key.requestsPerMinute, tokensPerMinute = key.tokensPerMinute } = limits;
    return this.#changeKey(id, { requestsPerMinute, tokensPerMinute });
  }

  #changeKey(id: KeyId, change: Partial<KeyRow>): KeyView {
    const row = this.#db.update(keys).set(change).where(eq(keys.id, id)).returning().get();
    this.#keys.set(row.hash, row);
    return view(row);
  }

  #activeKey(hash: string): KeyRow | undefined {
    const key = this.#keys.get(hash);
    return key && key.revokedAt === null ? key : undefined;
  }

  #byId(id: KeyId): KeyRow | undefined {
    return [...this.#keys.values()].find((key) => key.id === id);
  }

  #limits(key: KeyRow, now: number) {
    return this.#windows.state(key.id, key, now);
  }

  // Money, for people.

  async credit(
    amount: Nanodollars,
    reference: string,
  ): Promise<(BalanceView & { credited: boolean }) | ApiError> {
    // First, so that a repetition is told what was done, whatever the balance has become since.
    const before = this.#ledger.credited(reference);
    if (before === amount) return { credited: false, ...this.#balance() };
    if (before !== undefined) {
      return invalid(
        `This reference credited ${formatUsd(before)} USD before. Use another one.`,
        "reference",
        "reference_used",
      );
    }
    const after = this.#ledger.balance + amount;
    if (!Number.isSafeInteger(after)) return invalid("An account holds at most 9 million USD.", "amount");
    if (after < this.#ledger.held) return invalid("That would take more than is available.", "amount");
    const { credited } = this.#ledger.credit(nanodollars(amount), reference, Date.now());
    if (credited) await this.#flushSoon();
    return { credited, ...this.#balance() };
  }

  async balance(): Promise<BalanceView> {
    return this.#balance();
  }

  #balance(): BalanceView {
    const { balance, held, available } = this.#ledger;
    return { balance, held, available };
  }

  /** A request that is open, or settled so lately that D1 may not have it. */
  async request(id: RequestId): Promise<RequestView | undefined> {
    const open = this.#ledger.open(id);
    if (open) {
      const { model, region, backend, keyId, admittedAt, held } = open;
      return { state: "open", model, region, backend, keyId, admittedAt, held };
    }
    const rows = this.#ledger.settled(id, this.#state?.mark ?? 0);
    return rows.length > 0 ? { state: "settled", rows } : undefined;
  }

  /** How far D1 may be behind: the journal's last sequence and D1's mark as last confirmed. */
  async progress(): Promise<{ last: number; mark: number }> {
    return { last: this.#ledger.last, mark: this.#state?.mark ?? 0 };
  }

  /** What usage is as of: how far the journal goes beyond `mark`, and what is not in it yet. */
  async standing(mark: number): Promise<Standing> {
    return {
      last: this.#ledger.last,
      nextAt: this.#ledger.after(mark, 1)[0]?.at ?? null,
      open: this.#ledger.openRequests,
      held: this.#ledger.held,
      awaited: this.#ledger.awaited(),
    };
  }

  /** Journal rows between two sequences, both exclusive, newest first; and whose count is still awaited. */
  async journalBefore(before: number, after: number, limit: number): Promise<JournalWindow> {
    return {
      rows: this.#ledger.before(before, after, Math.min(limit, 1_000)),
      last: this.#ledger.last,
      awaited: this.#ledger.awaited(),
    };
  }

  async journalAfter(sequence: number, limit: number): Promise<JournalRow[]> {
    return this.#ledger.after(sequence, Math.min(limit, 1_000));
  }

  /** Recomputes the books from their rows and compares them with what is in memory. */
  async audit(): Promise<AccountAudit | undefined> {
    if (!this.#state) return undefined;
    const { entries, broken, doubled, held } = this.#ledger.recompute();
    const sum = BigInt(this.#state.opening) + entries;
    const findings: string[] = [];
    if (sum !== BigInt(this.#ledger.balance))
      findings.push(`balance ${this.#ledger.balance} is not opening and entries ${sum}`);
    if (broken > 0) findings.push(`${broken} journal rows do not follow from the row before`);
    if (doubled > 0) findings.push(`${doubled} requests are settled more than once`);
    if (held !== this.#ledger.held)
      findings.push(`held ${this.#ledger.held} is not the sum of reservations ${held}`);
    if (this.#ledger.available < 0) findings.push(`available is ${this.#ledger.available}: overdrawn`);
    return {
      account: this.#state.account,
      opening: this.#state.opening,
      last: this.#ledger.last,
      mark: this.#state.mark,
      openReservations: this.#ledger.reservations().length,
      findings,
      ...this.#balance(),
    };
  }

  // The outbox.

  /** D1's own word on what it has. Only this moves the cursor, and only forward. */
  async forwarded(mark: number): Promise<void> {
    if (!this.#state || !Number.isSafeInteger(mark) || mark <= this.#state.mark || mark > this.#ledger.last)
      return;
    this.#state = this.#db.update(state).set({ mark }).returning().get();
    this.#confirmedAt = Date.now();
  }

  async #flushSoon(): Promise<void> {
    if (this.#flushAt !== undefined) return;
    this.#flushAt = Date.now() + FLUSH_MS;
    await this.#wake(this.#flushAt);
  }

  async #flush(now: number): Promise<void> {
    const { account, mark } = this.#state!;
    // Nothing is outstanding, or what is has been lost on the way: (again) from D1's mark.
    if (this.#sent <= mark || now - this.#confirmedAt >= RESEND_MS) {
      this.#sent = mark;
      this.#confirmedAt = now;
    }
    const rows = this.#ledger.after(this.#sent, FLUSH_ROWS);
    if (rows.length === 0) return;
    for (const message of messages(account, rows)) {
      await this.env.OUTBOX.send(message, { contentType: "json" });
      this.#sent = message.rows.at(-1)!.sequence;
    }
    if (this.#sent < this.#ledger.last) this.#flushAt = now; // more than one flush takes: go on at once
  }

  // The alarm.

  override async alarm(): Promise<void> {
    this.#alarmAt = null;
    if (!this.#state) return;
    const now = Date.now();
    const context = this.#expiryContext();
    // Each part fails by itself and is tried again: an alarm that throws six times is never rung again.
    await this.#attempt("expiry", () => expire(context, now));
    await this.#attempt("inquiry", () => inquire(context, now));
    this.#windows.forget(now);
    // Also where D1 has everything by now: a time that stays set would ring this alarm every second for ever.
    this.#flushAt = undefined;
    if (this.#ledger.last > this.#state.mark) await this.#attempt("outbox", () => this.#flush(now));
    await this.#schedule(now);
  }

  async #attempt(part: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      console.error(`account ${this.#state?.account}: ${part} failed and is tried again: ${error}`);
    }
  }

  #expiryContext(): ExpiryContext {
    return {
      env: this.env,
      db: this.#db,
      ledger: this.#ledger,
      epoch: this.#state!.epoch,
      looks: this.#looks,
      settle: (settlement) => {
        const receipt = this.#settle(settlement);
        if (receipt.posted && this.#flushAt === undefined) this.#flushAt = Date.now() + FLUSH_MS;
        return receipt;
      },
    };
  }

  async #schedule(now: number): Promise<void> {
    const unconfirmed = this.#ledger.last > this.#state!.mark;
    const times = [
      nextWake(this.#expiryContext(), now),
      this.#flushAt,
      unconfirmed ? this.#confirmedAt + RESEND_MS : undefined,
    ].filter((at) => at !== undefined);
    // Never at once: what failed a moment ago gets a second.
    if (times.length > 0) await this.#wake(Math.max(now + SECOND_MS, Math.min(...times)));
  }

  /** Moves the one alarm, only ever to earlier: a row is written when it moves. */
  async #wake(at: number): Promise<void> {
    if (this.#alarmAt !== null && this.#alarmAt <= at) return;
    this.#alarmAt = at;
    await this.ctx.storage.setAlarm(at);
  }
}

function view({ hash: _, ...row }: KeyRow): KeyView {
  return row;
}

/** What both allow; undefined: any. An empty list allows nothing, and that is what two that share nothing mean. */
function narrowed(
  account: readonly string[] | null,
  key: readonly string[] | null,
): readonly string[] | undefined {
  if (!account) return key ?? undefined;
  return key ? account.filter((jurisdiction) => key.includes(jurisdiction)) : account;
}

function usedTokens(usage: {
  input: number | null;
  cachedInput: number | null;
  output: number | null;
}): number {
  return (usage.input ?? 0) + (usage.cachedInput ?? 0) + (usage.output ?? 0);
}
