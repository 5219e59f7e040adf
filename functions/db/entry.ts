/** What a journal entry is, in the account's own database and in D1's copy of every account's. */
import { integer, text } from "drizzle-orm/sqlite-core";
import type { AttemptRecord, Ending } from "../admission/holder.ts";
import type { TraceRecord } from "../dispatch/trace.ts";
import type { KeyId, PriceId, RequestId } from "../ids.ts";
import type { Usage } from "../money.ts";
import { instant, money } from "./columns.ts";

export const entryColumns = () => ({
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
