/**
 * D1: the authority for the list of accounts, models, prices, regions and backends, and the read model of usage,
 * which the outbox alone fills. Tables with a text or joint key are WITHOUT ROWID (by hand in the migration).
 */
import { sql } from "drizzle-orm";
import { blob, index, integer, primaryKey, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import type {
  AccountId,
  BackendId,
  DeliveryId,
  EndpointId,
  EventId,
  Jurisdiction,
  KeyId,
  PriceId,
} from "../../ids.ts";
import type { EventData, EventType, RegionEventType } from "../../webhooks/events.ts";
import { instant, money } from "../columns.ts";
import { entryColumns } from "../entry.ts";

/** Written before the account's object exists. */
export const accounts = sqliteTable("accounts", {
  id: text("id").$type<AccountId>().primaryKey(),
  name: text("name").notNull(),
  jurisdiction: text("jurisdiction").$type<Jurisdiction>(),
  createdAt: instant("created_at").notNull(),
  /** What GET /v1/regions shows it: `full` adds every backend; null is `own`. */
  fleetView: text("fleet_view").$type<FleetScope>(),
});

export type FleetScope = "own" | "full";

export const models = sqliteTable("models", {
  id: text("id").primaryKey(),
  name: text("name").notNull(),
  description: text("description").notNull(),
  ownedBy: text("owned_by").notNull(),
  contextLength: integer("context_length").notNull(),
  /** Held and sent to the backend when a request names no limit. */
  defaultMaxOutputTokens: integer("default_max_output_tokens").notNull(),
  createdAt: instant("created_at").notNull(),
});

export const prices = sqliteTable(
  "prices",
  {
    id: text("id").$type<PriceId>().primaryKey(),
    model: text("model").notNull(),
    effectiveAt: instant("effective_at").notNull(),
    input: money("input").notNull(),
    cachedInput: money("cached_input").notNull(),
    output: money("output").notNull(),
    createdAt: instant("created_at").notNull(),
  },
  (table) => [index("prices_model").on(table.model, table.effectiveAt)],
);

export const regions = sqliteTable("regions", {
  id: text("id").primaryKey(),
  name: text("name").notNull(),
  /** Where it is, in the names of Durable Object location hints. */
  zone: text("zone").notNull(),
  /** A local run plays regions on one machine: the round trip it pretends, in milliseconds. */
  simulatedDistanceMs: integer("simulated_distance_ms"),
  /** Under whose law it stands, in the words of accounts' residency: `eu`, `us`. */
  jurisdiction: text("jurisdiction"),
});

export const backends = sqliteTable("backends", {
  id: text("id").$type<BackendId>().primaryKey(),
  name: text("name").notNull(),
  region: text("region").notNull(),
  model: text("model").notNull(),
  /** The name by which the backend itself knows the model. */
  servedAs: text("served_as").notNull(),
  kind: text("kind").$type<BackendKind>().notNull(),
  /** What it runs on, and what a local run lets it play. */
  chip: text("chip").$type<Chip>().notNull(),
  plays: text("plays").$type<Chip>(),
  url: text("url").notNull(),
  /** The name of the secret that holds its bearer, never the bearer. */
  secretName: text("secret_name").notNull(),
  state: text("state").$type<"active" | "draining">().notNull(),
  /** What it costs to run there, nanodollars a million tokens: a term of routing, not what customers pay. */
  costInput: money("cost_input"),
  costCachedInput: money("cost_cached_input"),
  costOutput: money("cost_output"),
  /** What it can do, where an operator says; null: the model's context, tools, no limit. */
  contextLength: integer("context_length"),
  tools: integer("tools", { mode: "boolean" }),
  maxConcurrent: integer("max_concurrent"),
  maxWaiting: integer("max_waiting"),
  /** Where routing starts until it has measured: prompt tokens a second, and tokens a second of one stream. */
  prefillTokensPerSecond: real("prefill_tokens_per_second"),
  decodeTokensPerSecond: real("decode_tokens_per_second"),
  createdAt: instant("created_at").notNull(),
});

/** The dialect that it speaks: dispatch/dialects. */
export type BackendKind = "causeway" | "vllm" | "sglang" | "openai";
export type Chip = "gpu" | "npu" | "cpu";

/** Every journal entry of every account, as it was written there. */
export const events = sqliteTable(
  "events",
  {
    account: text("account").$type<AccountId>().notNull(),
    sequence: integer("sequence").notNull(),
    ...entryColumns(),
  },
  (table) => [
    primaryKey({ columns: [table.account, table.sequence] }),
    index("events_request").on(table.requestId),
  ],
);

/** Sums by the quarter hour in which a request ended. Rebuildable from events. */
export const rollups = sqliteTable(
  "rollups",
  {
    account: text("account").$type<AccountId>().notNull(),
    /** Start of the quarter hour. */
    bucket: instant("bucket").notNull(),
    model: text("model").notNull(),
    region: text("region").notNull(),
    backend: text("backend").notNull(),
    keyId: text("key_id").$type<KeyId>().notNull(),
    requests: integer("requests").notNull(),
    failures: integer("failures").notNull(),
    input: integer("input").notNull(),
    cachedInput: integer("cached_input").notNull(),
    output: integer("output").notNull(),
    reasoning: integer("reasoning").notNull(),
    cost: money("cost").notNull(),
    /** Histograms (usage/histogram.ts): time to first token in ms, output tokens a second. */
    ttft: blob("ttft").$type<Uint8Array>().notNull(),
    speed: blob("speed").$type<Uint8Array>().notNull(),
    /** Of the requests, those that the client left, that were refused, and that took more than one attempt. */
    clientLeft: integer("client_left").notNull().default(0),
    refused: integer("refused").notNull().default(0),
    failedOver: integer("failed_over").notNull().default(0),
  },
  (table) => [
    primaryKey({
      columns: [table.account, table.bucket, table.model, table.region, table.backend, table.keyId],
    }),
  ],
);

/** Up to which sequence of an account's journal D1 has everything. Moves only over contiguous sequences. */
export const marks = sqliteTable("marks", {
  account: text("account").$type<AccountId>().primaryKey(),
  mark: integer("mark").notNull(),
});

/** What befell backends and regions, newest last: fleet/events.ts writes it, and keeps it short. */
export const fleetEvents = sqliteTable(
  "fleet_events",
  {
    id: integer("id").primaryKey(),
    at: instant("at").notNull(),
    region: text("region").notNull(),
    /** null: the whole region. */
    backend: text("backend").$type<BackendId>(),
    kind: text("kind").$type<FleetEventKind>().notNull(),
    message: text("message").notNull(),
    /** Whether webhooks have been told; true where there is nothing to tell them. */
    told: integer("told", { mode: "boolean" }).notNull().default(true),
  },
  (table) => [
    index("fleet_events_regions").on(table.at).where(sql`${table.backend} is null`),
    index("fleet_events_untold").on(table.id).where(sql`${table.told} = 0`),
  ],
);

export type FleetEventKind = "backend.down" | "backend.recovered" | RegionEventType;

/** What is down now: a row from the change until the recovery. The subject is a backend's id, or a region's. */
export const fleetOutages = sqliteTable(
  "fleet_outages",
  {
    kind: text("kind").$type<"backend" | "region">().notNull(),
    subject: text("subject").notNull(),
    since: instant("since").notNull(),
  },
  (table) => [primaryKey({ columns: [table.kind, table.subject] })],
);
/** Where an account wants to be told, and of what. */
export const webhookEndpoints = sqliteTable(
  "webhook_endpoints",
  {
    id: text("id").$type<EndpointId>().primaryKey(),
    account: text("account").$type<AccountId>().notNull(),
    url: text("url").notNull(),
    description: text("description").notNull(),
    events: text("events", { mode: "json" }).$type<readonly EventType[]>().notNull(),
    state: text("state").$type<"enabled" | "disabled">().notNull(),
    disabledBecause: text("disabled_because"),
    /** Newest first; two while one replaces the other. Encrypted: webhooks/secrets.ts. */
    secrets: text("secrets", { mode: "json" }).$type<readonly SealedSecret[]>().notNull(),
    /** Since when every attempt has failed; null: the last one did not. */
    failingSince: instant("failing_since"),
    createdAt: instant("created_at").notNull(),
  },
  (table) => [index("webhook_endpoints_account").on(table.account)],
);

export interface SealedSecret {
  readonly sealed: string;
  /** The last four characters. */
  readonly hint: string;
  readonly expiresAt: number | null;
}

/** What happened, once, whoever is told. */
export const webhookEvents = sqliteTable("webhook_events", {
  id: text("id").$type<EventId>().primaryKey(),
  type: text("type").$type<EventType>().notNull(),
  at: instant("at").notNull(),
  data: text("data", { mode: "json" }).$type<EventData>().notNull(),
});

/** One event for one endpoint. The id is made from both, so that neither a repetition nor a second consumer doubles it. */
export const webhookDeliveries = sqliteTable(
  "webhook_deliveries",
  {
    id: text("id").$type<DeliveryId>().primaryKey(),
    account: text("account").$type<AccountId>().notNull(),
    endpoint: text("endpoint").$type<EndpointId>().notNull(),
    event: text("event").$type<EventId>().notNull(),
    state: text("state").$type<"pending" | "delivered" | "failed">().notNull(),
    /** The newest twenty. */
    attempts: text("attempts", { mode: "json" }).$type<readonly DeliveryAttempt[]>().notNull(),
    /** How many tries there were since it was made or asked for again: the back-off counts these. */
    tries: integer("tries").notNull(),
    /** When it is due. While an attempt runs, when that is given up for lost. */
    nextAttemptAt: instant("next_attempt_at"),
    /** An attempt runs, until then at the latest. */
    claimedUntil: instant("claimed_until"),
    createdAt: instant("created_at").notNull(),
  },
  (table) => [
    index("webhook_deliveries_endpoint").on(table.endpoint, table.id),
    index("webhook_deliveries_running").on(table.endpoint).where(sql`${table.claimedUntil} is not null`),
    index("webhook_deliveries_due")
      .on(table.endpoint, table.nextAttemptAt)
      .where(sql`${table.state} = 'pending'`),
  ],
);

export interface DeliveryAttempt {
  readonly at: number;
  /** Null: there was no answer. */
  readonly status: number | null;
  readonly ms: number;
  readonly error: string | null;
}

/** What Stripe told, by its own event ids: seen once, whatever became of it. */
export const stripeEvents = sqliteTable("stripe_events", {
  id: text("id").primaryKey(),
  type: text("type").notNull(),
  at: instant("at").notNull(),
  /** `credited`, `repeated`, or why it credited nothing: for an operator to look at. */
  outcome: text("outcome").notNull(),
  account: text("account"),
  session: text("session"),
  amount: money("amount"),
});
