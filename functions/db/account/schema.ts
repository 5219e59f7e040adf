/**
 * The account's own database (SQLite in its Durable Object): the authority for its keys, limits and money.
 * A request costs three row writes here: the reservation's insert and delete, and the journal's insert.
 * Tables with a text key are WITHOUT ROWID (written into the migration by hand), else each row costs two.
 */
import { integer, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import type { AttemptRecord, Ending } from "../../admission/holder.ts";
import type { TraceRecord } from "../../dispatch/trace.ts";
import type { AccountId, AttemptId, KeyId, LeaseId, PriceId, RequestId } from "../../ids.ts";
import type { Usage } from "../../money.ts";
import { instant, money } from "../columns.ts";

/** One row. `opening` is what the balance was before the journal's first row (it moves at a month's closing). */
export const state = sqliteTable("state", {
  id: integer("id").primaryKey(),
  account: text("account").$type<AccountId>().notNull(),
  openedAt: instant("opened_at").notNull(),
  opening: money("opening").notNull(),
  /** The journal sequence up to which D1 has everything, as D1 said it. */
  mark: integer("mark").notNull(),
  /** A holder that starts again opens a new epoch; reservations of older ones are looked into. */
  epoch: integer("epoch").notNull(),
  leaseId: text("lease_id").$type<LeaseId>().notNull(),
  /** Jurisdictions whose regions alone may serve this account; null: any. */
  residency: text("residency", { mode: "json" }).$type<readonly string[]>(),
});

export const keys = sqliteTable(
  "keys",
  {
    id: text("id").$type<KeyId>().primaryKey(),
    name: text("name").notNull(),
    /** SHA-256 of the key's secret, in hex. The secret itself is nowhere. */
    hash: text("hash").notNull(),
    /** The last four characters of the secret, for people to tell keys apart. */
    hint: text("hint").notNull(),
    createdAt: instant("created_at").notNull(),
    revokedAt: instant("revoked_at"),
    requestsPerMinute: integer("requests_per_minute"),
    tokensPerMinute: integer("tokens_per_minute"),
    /** Narrows the account's, never widens it. */
    residency: text("residency", { mode: "json" }).$type<readonly string[]>(),
  },
  (table) => [uniqueIndex("keys_hash").on(table.hash)],
);

/** Open reservations. Settling deletes the row in the transaction that writes the journal's. */
export const reservations = sqliteTable("reservations", {
  requestId: text("request_id").$type<RequestId>().primaryKey(),
  keyId: text("key_id").$type<KeyId>().notNull(),
  model: text("model").notNull(),
  held: money("held").notNull(),
  maxInput: integer("max_input").notNull(),
  maxOutput: integer("max_output").notNull(),
  priceId: text("price_id").$type<PriceId>().notNull(),
  inputRate: money("input_rate").notNull(),
  cachedInputRate: money("cached_input_rate").notNull(),
  outputRate: money("output_rate").notNull(),
  admittedAt: instant("admitted_at").notNull(),
  /** When the expiry alarm may settle it. */
  deadlineAt: instant("deadline_at").notNull(),
  epoch: integer("epoch").notNull(),
  attempt: text("attempt").$type<AttemptId>().notNull(),
  backend: text("backend").notNull(),
  region: text("region").notNull(),
  /** The last running count that a checkpoint brought. */
  counted: text("counted", { mode: "json" }).$type<Usage>(),
});

/**
 * Append-only: ledger entry, usage event and outbox entry at once. The balance is the last row's.
 * Charges are negative. What was sent on to D1 is `state.mark`, not a column here.
 */
export const journal = sqliteTable("journal", {
  sequence: integer("sequence").primaryKey(),
  kind: text("kind").$type<"usage" | "adjustment" | "credit">().notNull(),
  at: instant("at").notNull(),
  amount: money("amount").notNull(),
  balance: money("balance").notNull(),
  /** Credits: the operator's own reference. */
  reference: text("reference"),
  requestId: text("request_id").$type<RequestId>(),
  keyId: text("key_id").$type<KeyId>(),
  model: text("model"),
  region: text("region"),
  backend: text("backend"),
  ending: text("ending").$type<Ending>(),
  finishReason: text("finish_reason"),
  input: integer("input"),
  cachedInput: integer("cached_input"),
  output: integer("output"),
  reasoning: integer("reasoning"),
  source: text("source").$type<Usage["source"]>(),
  priceId: text("price_id").$type<PriceId>(),
  held: money("held"),
  admittedAt: instant("admitted_at"),
  ttftMs: integer("ttft_ms"),
  durationMs: integer("duration_ms"),
  attempts: text("attempts", { mode: "json" }).$type<readonly AttemptRecord[]>(),
  /** When what happened, and who else could have served. */
  trace: text("trace", { mode: "json" }).$type<TraceRecord>(),
});

/** A credit's reference, written in its transaction: the same reference credits once. */
export const credits = sqliteTable("credits", {
  reference: text("reference").primaryKey(),
  sequence: integer("sequence").notNull(),
});

/** Requests that were settled without the backend's count because it could not be asked; asked again later. */
export const inquiries = sqliteTable("inquiries", {
  requestId: text("request_id").$type<RequestId>().primaryKey(),
  attempt: text("attempt").$type<AttemptId>().notNull(),
  backend: text("backend").notNull(),
  /** The journal row of the settlement. */
  sequence: integer("sequence").notNull(),
  held: money("held").notNull(),
  inputRate: money("input_rate").notNull(),
  cachedInputRate: money("cached_input_rate").notNull(),
  outputRate: money("output_rate").notNull(),
  maxInput: integer("max_input").notNull(),
  maxOutput: integer("max_output").notNull(),
  tries: integer("tries").notNull(),
  nextAt: instant("next_at").notNull(),
});
