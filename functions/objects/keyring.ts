/**
 * The account's keys: rows in its database, and in memory by hash and by id. A key opens what its scopes say until
 * it is revoked or its deadline comes, to the millisecond. A rotation makes a successor that shares its
 * predecessor's line: limits and budgets of a line are counted as one, so that a rotation resets none of them.
 */
import { eq } from "drizzle-orm";
import type { Scope } from "../auth/scopes.ts";
import { keys } from "../db/account/schema.ts";
import { type ApiError, conflict, invalid, notFound } from "../errors.ts";
import type { KeyId } from "../ids.ts";
import type { Nanodollars } from "../money.ts";
import type { Database } from "./ledger.ts";
import type { KeyLimits } from "./windows.ts";

/** Keys that can be used, and rows in all: journals name keys that are long gone, so rows stay. */
const MAX_LIVE = 1_000;
const MAX_ROWS = 20_000;

export type KeyRow = typeof keys.$inferSelect;

export interface NewKey extends KeyLimits {
  readonly id: KeyId;
  readonly name: string;
  readonly hash: string;
  readonly hint: string;
  readonly residency?: readonly string[] | null;
  readonly scopes?: readonly Scope[];
  readonly expiresAt?: number | null;
  readonly budgetDay?: Nanodollars | null;
  readonly budgetMonth?: Nanodollars | null;
}

/** What may be changed of a key; what is not named stays. */
export type KeyChange = Partial<
  Pick<
    KeyRow,
    | "name"
    | "scopes"
    | "requestsPerMinute"
    | "tokensPerMinute"
    | "residency"
    | "expiresAt"
    | "budgetDay"
    | "budgetMonth"
  >
>;

/** The secret of a successor, made where keys are made. */
export type Successor = Pick<NewKey, "id" | "hash" | "hint">;

export type KeyState = "active" | "expiring" | "expired" | "revoked";

export function stateOf(key: Pick<KeyRow, "revokedAt" | "expiresAt">, now: number): KeyState {
  if (key.revokedAt !== null) return "revoked";
  if (key.expiresAt === null) return "active";
  return key.expiresAt <= now ? "expired" : "expiring";
}

/** The line of rotations that a key belongs to: its first key. */
export const lineOf = (key: Pick<KeyRow, "id" | "lineage">): KeyId => key.lineage ?? key.id;

export class Keyring {
  readonly #db: Database;
  readonly #byHash = new Map<string, KeyRow>();
  readonly #byId = new Map<KeyId, KeyRow>();
  /** Keys whose last use is in memory only. */
  readonly #used = new Set<KeyId>();

  constructor(db: Database) {
    this.#db = db;
    for (const row of db.select().from(keys).all()) this.#keep(row);
  }

  /** The key with this hash, if it opens anything now. */
  active(hash: string, now: number): KeyRow | undefined {
    const key = this.#byHash.get(hash);
    return key && key.revokedAt === null && (key.expiresAt === null || now < key.expiresAt) ? key : undefined;
  }

  get(id: KeyId): KeyRow | undefined {
    return this.#byId.get(id);
  }

  all(): KeyRow[] {
    return [...this.#byId.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** Whose limits and budgets a key's requests count against. A key that is not known is its own line. */
  line(id: KeyId): KeyId {
    const key = this.#byId.get(id);
    return key ? lineOf(key) : id;
  }

  /** `also` writes in the same transaction. */
  create(key: NewKey, now: number, also: (db: Database) => void = () => undefined): KeyRow | ApiError {
    const full = this.#full(now);
    if (full) return full;
    const row = this.#db.transaction((tx) => {
      also(tx);
      return tx
        .insert(keys)
        .values({ ...key, createdAt: now })
        .returning()
        .get();
    });
    return this.#keep(row);
  }

  change(id: KeyId, change: KeyChange, now: number): KeyRow | ApiError {
    const key = this.#byId.get(id);
    if (!key) return noSuch(id);
    const { expiresAt } = change;
    if (expiresAt !== undefined && expiresAt !== key.expiresAt) {
      if (stateOf(key, now) === "revoked" || stateOf(key, now) === "expired")
        return conflict("This key has ended. Make a new one.", "key_ended");
      if (expiresAt !== null && expiresAt <= now)
        return invalid("'expires_at' must be in the future. DELETE ends a key at once.", "expires_at");
      if (key.successor !== null && (expiresAt === null || expiresAt > key.expiresAt!))
        return invalid("A rotated key's deadline can only be brought forward.", "expires_at");
    }
    // Picked one by one: what else a caller may have put in must not reach the row.
    const { name, scopes, requestsPerMinute, tokensPerMinute, residency, budgetDay, budgetMonth } = change;
    const set = {
      ...(name !== undefined && { name }),
      ...(scopes !== undefined && { scopes }),
      ...(requestsPerMinute !== undefined && { requestsPerMinute }),
      ...(tokensPerMinute !== undefined && { tokensPerMinute }),
      ...(residency !== undefined && { residency }),
      ...(expiresAt !== undefined && { expiresAt }),
      ...(budgetDay !== undefined && { budgetDay }),
      ...(budgetMonth !== undefined && { budgetMonth }),
    };
    return Object.keys(set).length > 0 ? this.#set(this.#db, id, set) : key;
  }

  /** Revoking twice keeps the first time. */
  revoke(id: KeyId, now: number): KeyRow | ApiError {
    const key = this.#byId.get(id);
    if (!key) return noSuch(id);
    return key.revokedAt === null ? this.#set(this.#db, id, { revokedAt: now }) : key;
  }

  /**
   * A successor for a key, which itself goes on until `deadline`. Asked again, since the reply that had the secret
   * may have been lost: a new successor, and the unused one is void. A deadline that was given is never moved to
   * later. Once the successor has been used, its secret has arrived: then it is the one to rotate.
   */
  rotate(id: KeyId, made: Successor, deadline: number, now: number): KeyRow | ApiError {
    const old = this.#byId.get(id);
    if (!old) return noSuch(id);
    if (old.revokedAt !== null) return conflict("This key is revoked. Make a new one.", "key_ended");
    const before = old.successor === null ? undefined : this.#byId.get(old.successor);
    if (!before && stateOf(old, now) === "expired")
      return conflict("This key has expired. Make a new one.", "key_ended");
    if (before && (before.lastUsedAt !== null || before.successor !== null))
      return conflict(
        `This key was rotated, and its successor '${before.id}' is in use. Rotate that one.`,
        "already_rotated",
      );
    if (before && before.revokedAt !== null && stateOf(old, now) === "expired")
      return conflict("This key has expired and its successor is revoked. Make a new one.", "key_ended");
    const full = this.#full(now);
    if (full) return full;
    // The unused successor's own settings are the newest; its end is the one that the first key had by itself.
    const { name, scopes, requestsPerMinute, tokensPerMinute, residency, budgetDay, budgetMonth, expiresAt } =
      before ?? old;
    const rows = this.#db.transaction((tx) => {
      const successor = tx
        .insert(keys)
        .values({
          ...{
            name,
            scopes,
            requestsPerMinute,
            tokensPerMinute,
            residency,
            budgetDay,
            budgetMonth,
            expiresAt,
          },
          ...made,
          createdAt: now,
          lineage: lineOf(old),
        })
        .returning()
        .get();
      const ends = { successor: made.id, expiresAt: Math.min(deadline, old.expiresAt ?? deadline) };
      const voided =
        before && before.revokedAt === null
          ? [tx.update(keys).set({ revokedAt: now }).where(eq(keys.id, before.id)).returning().get()]
          : [];
      return [...voided, tx.update(keys).set(ends).where(eq(keys.id, id)).returning().get(), successor];
    });
    for (const row of rows) this.#keep(row);
    return rows.at(-1)!;
  }

  /**
   * A request used the key. In memory alone: the reservation says so too, and after it the journal, until
   * `writeUses` has written it.
   */
  seen(id: KeyId, at: number): void {
    const key = this.#byId.get(id);
    if (!key || at <= (key.lastUsedAt ?? 0)) return;
    this.#keep({ ...key, lastUsedAt: at });
    this.#used.add(id);
  }

  /** A use that leaves no other row behind. Written at most once in `everyMs`, and the first time at once. */
  look(key: KeyRow, now: number, everyMs: number): void {
    if (key.lastUsedAt === null || now - key.lastUsedAt >= everyMs)
      this.#set(this.#db, key.id, { lastUsedAt: now });
  }

  /** Writes what `seen` has kept in memory, in the caller's transaction. */
  writeUses(db: Database): void {
    for (const id of this.#used) {
      const lastUsedAt = this.#byId.get(id)?.lastUsedAt;
      db.update(keys).set({ lastUsedAt }).where(eq(keys.id, id)).run();
    }
  }

  /** That transaction has held. */
  usesWritten(): void {
    this.#used.clear();
  }

  #full(now: number): ApiError | undefined {
    const live = this.all().filter((key) => key.revokedAt === null && stateOf(key, now) !== "expired").length;
    if (live < MAX_LIVE && this.#byId.size < MAX_ROWS) return undefined;
    return conflict(`An account has at most ${MAX_LIVE} keys. Revoke some.`, "too_many_keys");
  }

  #set(db: Database, id: KeyId, change: Partial<KeyRow>): KeyRow {
    return this.#keep(db.update(keys).set(change).where(eq(keys.id, id)).returning().get());
  }

  /** A use that is not written yet stays known. */
  #keep(given: KeyRow): KeyRow {
    const memory = this.#byId.get(given.id);
    const row = { ...given, lastUsedAt: latest(given.lastUsedAt, memory?.lastUsedAt ?? null) };
    this.#byHash.set(row.hash, row);
    this.#byId.set(row.id, row);
    return row;
  }
}

const noSuch = (id: KeyId): ApiError => notFound(`No key '${id}' in this account.`);

function latest(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.max(a, b);
}
