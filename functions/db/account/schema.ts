/**
 * The account's own database (SQLite in its Durable Object): the authority for its keys, limits and money.
 * A request costs three row writes here: the reservation's insert and delete, and the journal's insert.
 * Tables with a text key are WITHOUT ROWID (written into the migration by hand), else each row costs two.
 */
import { integer, primaryKey, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import { DEFAULT_SCOPES, type Scope } from "../../auth/scopes.ts";
import type { AccountId, AttemptId, EventId, KeyId, LeaseId, PriceId, RequestId } from "../../ids.ts";
import type { Nanodollars, Usage } from "../../money.ts";
import type { Made } from "../../objects/idempotency.ts";
import type { NoticeType } from "../../webhooks/events.ts";
import { instant, money } from "../columns.ts";
import { entryColumns } from "../entry.ts";

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
  /** The most that the account may spend in a UTC day and month; null: no budget. */
  budgetDay: money("budget_day"),
  budgetMonth: money("budget_month"),
  /** The journal sequence up to which `tallies` and the keys' `last_used_at` are complete. */
  tallied: integer("tallied").notNull().default(0),
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
    scopes: text("scopes", { mode: "json" }).$type<readonly Scope[]>().notNull().default(DEFAULT_SCOPES),
    /** From this moment on it opens nothing. */
    expiresAt: instant("expires_at"),
    /** As of `state.tallied` for requests; what came after is in the journal and the reservations. */
    lastUsedAt: instant("last_used_at"),
    budgetDay: money("budget_day"),
    budgetMonth: money("budget_month"),
    /** The key that a rotation made to follow this one. */
    successor: text("successor").$type<KeyId>(),
    /** The first key of its line of rotations, whose limits and budgets are counted as one; null: itself. */
    lineage: text("lineage").$type<KeyId>(),
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
  /** The row of `idempotency` that was written with it, if any. */
  once: text("once"),
});

/**
 * Append-only: ledger entry, usage event and outbox entry at once. The balance is the last row's.
 * Charges are negative. What was sent on to D1 is `state.mark`, not a column here.
 */
export const journal = sqliteTable("journal", {
  sequence: integer("sequence").primaryKey(),
  ...entryColumns(),
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

/** What each line of keys spent in each UTC day, up to `state.tallied`: so that a start reads no whole journal. */
export const tallies = sqliteTable(
  "tallies",
  {
    keyId: text("key_id").$type<KeyId>().notNull(),
    /** Days since the epoch, by the time of admission. */
    day: integer("day").notNull(),
    spent: money("spent").notNull(),
  },
  (table) => [primaryKey({ columns: [table.keyId, table.day] })],
);

/**
 * What an `Idempotency-Key` has done, written in the transaction that does it. The day leads the key, so that old
 * ones are found without an index of their own, which would be a second row write.
 */
export const idempotency = sqliteTable(
  "idempotency",
  {
    /** Days since the epoch. */
    day: integer("day").notNull(),
    /** SHA-256 over the API key's hash and the header. */
    id: text("id").notNull(),
    /** SHA-256 over what was asked. */
    fingerprint: text("fingerprint").notNull(),
    /** What it made: a request, a key, an endpoint, a top-up. */
    made: text("made").$type<Made>().notNull(),
    at: instant("at").notNull(),
  },
  (table) => [primaryKey({ columns: [table.day, table.id] })],
);

/**
 * What webhooks have to tell and D1 has not confirmed yet. Written in the transaction of the change itself; few, since
 * a threshold is told once a crossing, and only what one of the account's endpoints asked for is written.
 */
export const notices = sqliteTable("notices", {
  id: text("id").$type<EventId>().primaryKey(),
  type: text("type").$type<NoticeType>().notNull(),
  at: instant("at").notNull(),
  data: text("data", { mode: "json" }).$type<Readonly<Record<string, unknown>>>().notNull(),
});

/** One row, once there are endpoints or thresholds: what to tell, and what has been told. */
export const alerts = sqliteTable("alerts", {
  id: integer("id").primaryKey(),
  /** What any endpoint of the account ever asked for. */
  wanted: text("wanted", { mode: "json" }).$type<readonly string[]>().notNull(),
  balanceLow: money("balance_low"),
  /** The balance is below `balanceLow`, and that was told. */
  low: integer("low", { mode: "boolean" }).notNull(),
  usage: text("usage", { mode: "json" }).$type<readonly UsageThreshold[]>().notNull(),
  /** By subject, the occasion of which was last told (`budget of key X` in `2026-11-24`): once each. */
  told: text("told", { mode: "json" }).$type<Readonly<Record<string, string>>>().notNull(),
});

export interface UsageThreshold {
  readonly period: "day" | "month";
  readonly amount: Nanodollars;
  /** The start of the period in which it was crossed; null: it stands armed. */
  readonly crossedIn: number | null;
}
