/**
 * What an `Idempotency-Key` has done. Its row is written in the transaction that does it (the reservation's insert,
 * a new key's), so it is there exactly when the effect is. Whether a request still runs is its reservation's to
 * say: nothing is written here when it ends, but when it delivered nothing, and the row goes with the settlement.
 */
import { and, asc, eq, gte, inArray, lt } from "drizzle-orm";
import type { Once } from "../admission/holder.ts";
import { DAY_MS, dayOf } from "../clock.ts";
import { idempotency } from "../db/account/schema.ts";
import { type ApiError, conflict, idempotencyKeyReused } from "../errors.ts";
import { type CheckoutId, type EndpointId, isRequestId, type KeyId, type RequestId } from "../ids.ts";
import type { Database } from "./ledger.ts";

/** Rows that one alarm takes away. */
const BATCH = 500;
/** Of a request that is running: it may take minutes, and clients count their attempts. */
const RETRY_SECONDS = 5;

/** What an `Idempotency-Key` can make. `claim:`: its effect is made elsewhere, and nobody has said that it is there. */
export type Made = RequestId | KeyId | EndpointId | CheckoutId | `claim:${EndpointId | CheckoutId}`;

/** What is made elsewhere, by the first who asked: whoever asks again makes it under the same name, or not at all. */
export interface Claim {
  readonly made: EndpointId | CheckoutId;
  readonly isFirst: boolean;
  readonly isDone: boolean;
  readonly at: number;
}

/** What the same key has done before. Without effect 24 h later: rows go with their day, after that. */
export function repeated(
  db: Database,
  once: Once,
  now: number,
  isOpen: (request: RequestId) => boolean,
): ApiError | undefined {
  const row = standing(db, once, now);
  if (!row) return undefined;
  if (row.fingerprint !== once.fingerprint) return idempotencyKeyReused();
  if (isRequestId(row.made) && isOpen(row.made))
    return conflict(
      `The request with this Idempotency-Key is still running as ${row.made}. Its answer goes to whoever asked first.`,
      "idempotent_request_in_flight",
      RETRY_SECONDS,
    );
  if (!isRequestId(row.made)) return hasMade(row.made);
  return conflict(
    `The request with this Idempotency-Key has ended as ${row.made}: GET /v1/generation?id=${row.made} tells how. Use a new key to ask again.`,
    "idempotent_request_ended",
  );
}

export const hasMade = (made: string): ApiError =>
  conflict(
    `The request with this Idempotency-Key has made '${made}'. Use a new Idempotency-Key to make another.`,
    "idempotent_request_ended",
  );

export const stillMaking = (): ApiError =>
  conflict(
    "The request with this Idempotency-Key is still running. Its answer goes to whoever asked first.",
    "idempotent_request_in_flight",
    RETRY_SECONDS,
  );

/**
 * For an effect outside this database, which no transaction of ours can hold: its name is written first, and the effect
 * is made under that name where a name is made once. `confirm` follows the effect, `forget` a refusal.
 */
export function claim(db: Database, once: Once, made: Claim["made"], now: number): Claim | ApiError {
  const row = standing(db, once, now);
  if (!row) {
    remember(db, once, `claim:${made}`, now);
    return { made, isFirst: true, isDone: false, at: now };
  }
  if (row.fingerprint !== once.fingerprint) return idempotencyKeyReused();
  const isDone = !row.made.startsWith("claim:");
  return { made: row.made.replace(/^claim:/, "") as Claim["made"], isFirst: false, isDone, at: row.at };
}

/** The effect that was claimed is there. */
export function confirm(db: Database, once: Once, made: Claim["made"], at: number): void {
  db.update(idempotency)
    .set({ made })
    .where(and(eq(idempotency.day, dayOf(at)), eq(idempotency.id, once.id)))
    .run();
}

function standing(db: Database, once: Once, now: number) {
  // A clock that stepped back finds what it wrote "tomorrow".
  const days = [dayOf(now) - 1, dayOf(now), dayOf(now) + 1];
  return db
    .select()
    .from(idempotency)
    .where(and(inArray(idempotency.day, days), eq(idempotency.id, once.id)))
    .orderBy(asc(idempotency.at))
    .all()
    .find(({ at }) => at > now - DAY_MS);
}

/** Writes what was done, in the transaction that does it. */
export function remember(db: Database, once: Once, made: Made, now: number): void {
  const row = { day: dayOf(now), ...once, made, at: now };
  db.insert(idempotency)
    .values(row)
    .onConflictDoUpdate({ target: [idempotency.day, idempotency.id], set: row })
    .run();
}

/** It delivered nothing: the same key may ask again. In the transaction that settles it. */
export function forget(db: Database, id: string, at: number): void {
  db.delete(idempotency)
    .where(and(eq(idempotency.day, dayOf(at)), eq(idempotency.id, id)))
    .run();
}

/** Takes away rows of days that are over, some at a time. Returns when there is more to do. */
export function sweep(db: Database, now: number): number | undefined {
  const old = db
    .select({ day: idempotency.day, id: idempotency.id })
    .from(idempotency)
    .where(lt(idempotency.day, dayOf(now) - 1))
    .orderBy(asc(idempotency.day), asc(idempotency.id))
    .limit(BATCH)
    .all();
  const last = old.at(-1);
  if (last) {
    // Whole days before the last one of the batch, and of that one what the batch has of it.
    db.delete(idempotency).where(lt(idempotency.day, last.day)).run();
    const ids = old.filter(({ day }) => day === last.day).map(({ id }) => id);
    for (let at = 0; at < ids.length; at += 50)
      db.delete(idempotency)
        .where(and(eq(idempotency.day, last.day), inArray(idempotency.id, ids.slice(at, at + 50))))
        .run();
  }
  if (old.length === BATCH) return now;
  const next = db
    .select({ day: idempotency.day })
    .from(idempotency)
    .where(gte(idempotency.day, 0))
    .orderBy(asc(idempotency.day))
    .limit(1)
    .get();
  return next && (next.day + 2) * DAY_MS;
}
