/**
 * The account's object: the authority for its keys, limits, money and journal, and the first holder of leases.
 * One alarm serves everything that has to happen later (outbox, expiry, late counts); there are no timers, since
 * an object that is kept awake costs money. What the alarm does is in expiry.ts and in `#flush` below.
 */
import { DurableObject } from "cloudflare:workers";
import { migrate } from "drizzle-orm/durable-sqlite/migrator";
import migrations from "../../migrations/account/migrations.js";
import type { Admission, AdmitQuery, Holder, Once, Receipt, Settlement } from "../admission/holder.ts";
import type { Scope } from "../auth/scopes.ts";
import { HOUR_MS, iso, MINUTE_MS, SECOND_MS } from "../clock.ts";
import { state } from "../db/account/schema.ts";
import type { Env } from "../env.ts";
import {
  type ApiError,
  badKey,
  balanceInFlight,
  budgetExceeded,
  invalid,
  missingScope,
  noBalance,
  notFound,
  outsideResidency,
  rateLimited,
} from "../errors.ts";
import {
  type AccountId,
  type AttemptId,
  attemptId,
  type EventId,
  type KeyId,
  newLeaseId,
  type RequestId,
} from "../ids.ts";
import { formatUsd, type Nanodollars, nanodollars, type Usage, ZERO } from "../money.ts";
import { MAX_NOTICES, messages } from "../usage/outbox.ts";
import type { EventData, NoticeType } from "../webhooks/events.ts";
import { type BudgetStates, Budgets, type Exceeded, type Limits, TALLY_ROWS } from "./budgets.ts";
import { type ExpiryContext, expire, inquire, type Looks, nextWake } from "./expiry.ts";
import { type Claim, claim, confirm, forget, remember, repeated, sweep } from "./idempotency.ts";
import {
  type KeyChange,
  type KeyRow,
  Keyring,
  type KeyState,
  lineOf,
  type NewKey,
  type Successor,
  stateOf,
} from "./keyring.ts";
import { type JournalRow, Ledger, openDatabase } from "./ledger.ts";
import { Notices, type Thresholds } from "./notices.ts";
import { RateWindows } from "./windows.ts";

/** From a settlement to the message that carries it: what comes in between travels together. */
const FLUSH_MS = 1 * SECOND_MS;
/** When D1 has not confirmed by then, rows are sent again from its mark. */
const RESEND_MS = 1 * MINUTE_MS;
/** From a new idempotency key to the alarm that plans its end: not at once, another is likely to ring before. */
const SWEEP_MS = 1 * HOUR_MS;
/** Rows read and sent a flush. */
const FLUSH_ROWS = 1_000;

/** A key that only reads leaves its time of use at most this often. */
const LOOK_MS = 1 * MINUTE_MS;

/** A key as people see it, without its hash, and what its line has spent. */
export interface KeyView extends Omit<KeyRow, "hash"> {
  readonly state: KeyState;
  readonly budgets: BudgetStates;
}

/** Who a key is and what it may do. */
export interface Identity {
  readonly account: AccountId;
  readonly key: KeyId;
  readonly name: string;
  readonly hint: string;
  readonly scopes: readonly Scope[];
  /** Whoever remembers this asks again then; null: never by itself. */
  readonly expiresAt: number | null;
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
  readonly #db: ReturnType<typeof openDatabase>;
  #state: typeof state.$inferSelect | undefined;
  #ledger!: Ledger;
  #keys!: Keyring;
  #budgets!: Budgets;
  #notices!: Notices;
  readonly #windows = new RateWindows();
  /** The highest sequence sent in this life of the object, and when D1's mark last moved or sending began. */
  #sent = 0;
  #confirmedAt = 0;
  #flushAt: number | undefined;
  #alarmAt: number | null = null;
  /** When old idempotency keys are next taken away. */
  #sweepAt: number | undefined;
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
    this.#keys = new Keyring(this.#db);
    this.#budgets = new Budgets(this.#db, {
      lineOf: (key) => this.#keys.line(key),
      limitsOf: (key) => ({ account: this.#state!, key: this.#keys.get(key) ?? NO_BUDGETS }),
    });
    this.#budgets.load(opened.tallied, now, (key, at) => this.#keys.seen(key, at));
    this.#notices = new Notices(this.#db, opened.account);
    this.#ledger = new Ledger(this.#db, opened.opening, this.#budgets, this.#notices);
    for (const row of this.#ledger.settledSince(now).reverse()) {
      this.#windows.record(this.#keys.line(row.keyId!), row.requestId!, usedTokens(row), row.admittedAt!);
    }
    for (const row of this.#ledger.reservations()) {
      if (row.admittedAt > now - MINUTE_MS) {
        const tokens = row.maxInput + row.maxOutput;
        this.#windows.record(this.#keys.line(row.keyId), row.requestId, tokens, row.admittedAt);
      }
    }
    this.#sent = opened.mark;
    if (this.#hasUnsent()) this.#flushAt = now + FLUSH_MS;
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
    const key = this.#activeKey(query.keyHash, now);
    if (!key || !this.#state) return { ok: false, error: badKey() };
    if (!key.scopes.includes("inference")) return { ok: false, error: missingScope("inference") };
    const before = query.once && this.#repeated(query.once, now);
    if (before) return { ok: false, error: before };
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
    const decision = this.#windows.decide(lineOf(key), key, tokens, now);
    if (!decision.ok) {
      const seconds = Math.min(60, Math.max(1, Math.ceil(decision.retryAfterMs / 1000)));
      const message = `This key's limit of ${decision.limit} a minute is reached. Ask again in ${seconds} s.`;
      return { ok: false, error: rateLimited(message, seconds), limits: this.#limits(key, now) };
    }
    const held = Ledger.hold(query);
    const exceeded = this.#budgets.exceeded(key.id, held, now);
    if (exceeded) {
      if (!exceeded.tiedUp) await this.#tellExceeded(exceeded, key);
      return { ok: false, error: tooDear(exceeded, held), limits: this.#limits(key, now) };
    }
    if (!this.#ledger.reserve(query, key.id, this.#state.epoch, attemptId(query.requestId, 1), now)) {
      return { ok: false, error: this.#cannotPay(held), limits: this.#limits(key, now) };
    }
    this.#keys.seen(key.id, now);
    this.#windows.record(lineOf(key), query.requestId, tokens, now);
    await this.#wake(query.deadlineMs);
    const { account, leaseId, epoch } = this.#state;
    const limits = this.#limits(key, now);
    const { expiresAt } = key;
    return {
      ...{ ok: true, account, key: key.id, leaseId, epoch, held, limits },
      ...(residency && { residency }),
      ...(expiresAt !== null && { keyExpiresAt: expiresAt }),
    };
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
      this.#windows.correct(
        this.#keys.line(reservation.keyId),
        reservation.requestId,
        usedTokens(settlement.usage),
      );
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

  /** Who a key is, for requests that cost nothing. */
  async identify(keyHash: string): Promise<Identity | undefined> {
    const now = Date.now();
    const key = this.#activeKey(keyHash, now);
    if (!key || !this.#state) return undefined;
    this.#keys.look(key, now, LOOK_MS);
    const { id, name, hint, scopes, expiresAt } = key;
    return { account: this.#state.account, key: id, name, hint, scopes, expiresAt };
  }

  /** With an `Idempotency-Key`: the first of the same makes it, and the others are told. */
  async createKey(key: NewKey, once?: Once): Promise<KeyView | ApiError> {
    const now = Date.now();
    const before = once && this.#repeated(once, now);
    if (before) return before;
    const made = this.#keys.create(key, now, (tx) => once && remember(tx, once, key.id, now));
    if (once) await this.#wake(now + SWEEP_MS);
    return this.#shown(made, now);
  }

  /** For what an `Idempotency-Key` makes outside of this object: under which name, and whether somebody began it. */
  async claim(once: Once, made: Claim["made"]): Promise<Claim | ApiError> {
    const now = Date.now();
    const claimed = claim(this.#db, once, made, now);
    if ("isFirst" in claimed && claimed.isFirst) await this.#wake(now + SWEEP_MS);
    return claimed;
  }

  /** What was claimed is there. */
  async confirmClaim(once: Once, { made, at }: Claim): Promise<void> {
    confirm(this.#db, once, made, at);
  }

  /** What was claimed was refused: the same key may ask again. */
  async dropClaim(once: Once, { at }: Claim): Promise<void> {
    forget(this.#db, once.id, at);
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
    const now = Date.now();
    return this.#keys.all().map((key) => this.#view(key, now));
  }

  async key(id: KeyId): Promise<KeyView | ApiError> {
    return this.#shown(this.#keys.get(id) ?? notFound(`No key '${id}' in this account.`), Date.now());
  }

  /** In force with the next admission. Revoking twice keeps the first time. */
  async revokeKey(id: KeyId): Promise<KeyView | ApiError> {
    const now = Date.now();
    const wasRevoked = this.#keys.get(id)?.revokedAt != null;
    const revoked = this.#keys.revoke(id, now);
    if (!("status" in revoked) && !wasRevoked) {
      const { name, hint } = revoked;
      await this.#notice("key.revoked", { key: { id, name, hint } });
    }
    return this.#shown(revoked, now);
  }

  /** In force with the next admission; what is not named stays. */
  async changeKey(id: KeyId, change: KeyChange): Promise<KeyView | ApiError> {
    const now = Date.now();
    return this.#shown(this.#keys.change(id, change, now), now);
  }

  /** A successor; the key itself goes on for `overlapMs` (keyring.ts says what asking again does). */
  async rotateKey(id: KeyId, successor: Successor, overlapMs: number): Promise<KeyView | ApiError> {
    const now = Date.now();
    return this.#shown(this.#keys.rotate(id, successor, now + overlapMs, now), now);
  }

  /** None before the account is open. */
  #activeKey(hash: string, now: number): KeyRow | undefined {
    return this.#state && this.#keys.active(hash, now);
  }

  #repeated(once: Once, now: number): ApiError | undefined {
    return repeated(this.#db, once, now, (request) => this.#ledger.open(request) !== undefined);
  }

  #shown(key: KeyRow | ApiError, now: number): KeyView | ApiError {
    return "status" in key ? key : this.#view(key, now);
  }

  #view({ hash: _, ...key }: KeyRow, now: number): KeyView {
    return { ...key, state: stateOf(key, now), budgets: this.#budgets.states(key.id, key, now) };
  }

  #limits(key: KeyRow, now: number) {
    return this.#windows.state(lineOf(key), key, now);
  }

  // Budgets.

  /** The account's own, and what of them is used. */
  async budgets(): Promise<BudgetStates> {
    return this.#budgets.states(undefined, this.#state ?? NO_BUDGETS, Date.now());
  }

  /** In force with the next admission; what is not named stays, null takes one away. */
  async setBudgets({ budgetDay, budgetMonth }: Partial<Limits>): Promise<BudgetStates> {
    const change = {
      ...(budgetDay !== undefined && { budgetDay }),
      ...(budgetMonth !== undefined && { budgetMonth }),
    };
    if (Object.keys(change).length > 0) this.#state = this.#db.update(state).set(change).returning().get();
    return this.budgets();
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
    findings.push(...this.#budgets.audit(Date.now()));
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

  // Webhooks.

  /**
   * Tells what befell the account to those of its endpoints that want it. Called in the same turn as the change, with
   * no `await` between, so that both are written or neither. With `once`, told once an occasion of a subject.
   */
  async #notice(
    type: NoticeType,
    about: EventData,
    once?: { readonly subject: string; readonly occasion: string },
  ): Promise<void> {
    const now = Date.now();
    const data = { account: this.#state!.account, ...about };
    const written = once
      ? this.#notices.once(once.subject, once.occasion, type, data, now)
      : this.#notices.add(type, data, now);
    if (written) await this.#flushSoon();
  }

  /** Once a budget, a period and a limit, however many requests it refuses. */
  async #tellExceeded({ budget, limit, spent, resetsAt }: Exceeded, key: KeyRow): Promise<void> {
    const { of, period } = budget;
    const about = {
      budget: { of, period, key: of === "key" ? key.id : null, resets_at: iso(resetsAt) },
      limit: formatUsd(limit),
      limit_nanodollars: String(limit),
      spent: formatUsd(spent),
      spent_nanodollars: String(spent),
    };
    const subject = `budget of ${of === "key" ? lineOf(key) : of} for the ${period}`;
    await this.#notice("budget.exceeded", about, { subject, occasion: `${resetsAt} ${limit}` });
  }

  /** An endpoint of the account asks for these from now on. Called before D1 lists it. */
  async want(types: readonly string[]): Promise<void> {
    this.#notices.want(types);
  }

  async thresholds(): Promise<Thresholds> {
    return this.#notices.thresholds;
  }

  async setThresholds(given: Thresholds): Promise<Thresholds> {
    const now = Date.now();
    this.#notices.setThresholds(given, this.#ledger.balance, now);
    if (this.#notices.waiting) await this.#flushSoon();
    await this.#schedule(now);
    return this.#notices.thresholds;
  }

  /** D1 has these, and their deliveries. */
  async told(notices: readonly EventId[]): Promise<void> {
    if (this.#state) this.#notices.told(notices);
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
    for (const message of messages(account, rows)) {
      await this.env.OUTBOX.send(message, { contentType: "json" });
      this.#sent = message.rows.at(-1)!.sequence;
    }
    const notices = this.#notices.unsent(now, MAX_NOTICES);
    if (notices.length > 0) {
      await this.env.OUTBOX.send({ account, rows: [], notices }, { contentType: "json" });
      this.#notices.sent(
        notices.map(({ id }) => id),
        now,
      );
    }
    // More than one flush takes: go on at once.
    if (this.#sent < this.#ledger.last || notices.length === MAX_NOTICES) this.#flushAt = now;
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
    await this.#attempt("thresholds", async () => this.#notices.passTime(this.#ledger.balance, now));
    // Also where D1 has everything by now: a time that stays set would ring this alarm every second for ever.
    this.#flushAt = undefined;
    if (this.#hasUnsent()) await this.#attempt("outbox", () => this.#flush(now));
    await this.#attempt("tallies", async () => this.#tally(now));
    await this.#attempt("idempotency", async () => {
      this.#sweepAt = sweep(this.#db, now);
    });
    await this.#schedule(now);
  }

  /** Writes down what a start would else read from a long journal. */
  #tally(now: number): void {
    const { last } = this.#ledger;
    if (last - this.#state!.tallied < TALLY_ROWS) return;
    const written = this.#db.transaction((tx) => {
      this.#budgets.write(tx, now);
      this.#keys.writeUses(tx);
      return tx.update(state).set({ tallied: last }).returning().get();
    });
    this.#state = written;
    this.#budgets.written(now);
    this.#keys.usesWritten();
  }

  async #attempt(part: string, work: () => Promise<unknown>): Promise<void> {
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

  /** Something that D1 has not confirmed. */
  #hasUnsent(): boolean {
    return this.#ledger.last > this.#state!.mark || this.#notices.waiting;
  }

  async #schedule(now: number): Promise<void> {
    const unconfirmed = this.#ledger.last > this.#state!.mark;
    const times = [
      nextWake(this.#expiryContext(), now),
      this.#flushAt,
      this.#sweepAt,
      unconfirmed ? this.#confirmedAt + RESEND_MS : undefined,
      this.#notices.nextResend(),
      this.#notices.nextEnd(),
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

const NO_BUDGETS: Limits = { budgetDay: null, budgetMonth: null };

/** A hold that does not fit into a budget. It may in a moment only where what stands in its way is in flight. */
function tooDear({ budget, limit, spent, held, resetsAt, tiedUp }: Exceeded, need: Nanodollars): ApiError {
  const which = `this ${budget.of}'s budget for the ${budget.period}`;
  const message =
    `This request can cost up to ${formatUsd(need)} USD, and ${which}, ${formatUsd(limit)} USD, has ` +
    `${formatUsd(spent)} USD spent and ${formatUsd(held)} USD held by requests in flight. It resets at ` +
    `${iso(resetsAt)}.`;
  return budgetExceeded(message, tiedUp ? 2 : undefined);
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
