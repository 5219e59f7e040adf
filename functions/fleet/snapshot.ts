/**
 * What the edge knows of models, prices, regions and backends: plain data from D1, one copy an isolate, at most a
 * second old. The request that finds it older refreshes it in `waitUntil` and goes on with the last known good
 * one; only the first request of a cold isolate waits.
 */
import { asc, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { SECOND_MS } from "../clock.ts";
import { type BackendKind, backends, type Chip, models, prices, regions } from "../db/d1/schema.ts";
import { dialectOf } from "../dispatch/dialects/by-kind.ts";
import type { Env } from "../env.ts";
import type { BackendId } from "../ids.ts";
import type { Nanodollars, PriceVersion } from "../money.ts";

const MAX_AGE_MS = 1 * SECOND_MS;

export type Model = typeof models.$inferSelect;
export type Region = typeof regions.$inferSelect;

export interface Backend {
  readonly id: BackendId;
  readonly name: string;
  readonly region: string;
  readonly model: string;
  readonly servedAs: string;
  readonly kind: BackendKind;
  readonly chip: Chip;
  readonly plays: Chip | null;
  readonly url: string;
  readonly state: "active" | "draining";
  /** What it costs to run there, nanodollars a million tokens; null: no matter. */
  readonly costInput: Nanodollars | null;
  readonly costCachedInput: Nanodollars | null;
  readonly costOutput: Nanodollars | null;
  /** What an operator says it can do; null: the model's context, tools, no limit, rates as measured. */
  readonly contextLength: number | null;
  readonly tools: boolean | null;
  readonly maxConcurrent: number | null;
  readonly maxWaiting: number | null;
  readonly prefillTokensPerSecond: number | null;
  readonly decodeTokensPerSecond: number | null;
  /** The bearer itself, from the environment. */
  readonly secret: string;
  /** Whether it can be asked for an attempt's count and told to abort it (engine/server/README.md). */
  readonly keepsAttempts: boolean;
}

export interface Snapshot {
  readonly takenAt: number;
  readonly models: ReadonlyMap<string, Model>;
  /** The versions in force or to come, oldest first. */
  readonly prices: ReadonlyMap<string, readonly PriceVersion[]>;
  readonly regions: ReadonlyMap<string, Region>;
  readonly backends: ReadonlyMap<string, Backend>;
}

let current: Snapshot | undefined;
let loading: Promise<Snapshot> | undefined;
/** A reading that the platform cut with its request never ends: after this it counts no more. */
let loadingSince = 0;
const STALE_LOAD_MS = 5 * SECOND_MS;

/** The snapshot to decide on. Rejects only when there is none yet and D1 cannot be read. */
export async function snapshot(env: Env, waitUntil: (work: Promise<unknown>) => void): Promise<Snapshot> {
  const isLoading = loading && Date.now() - loadingSince < STALE_LOAD_MS;
  if (!current) return isLoading ? loading! : refresh(env);
  if (Date.now() - current.takenAt > MAX_AGE_MS && !isLoading) {
    waitUntil(refresh(env).catch((error) => console.error(`the snapshot stays as it is: ${error}`)));
  }
  return current;
}

/** Reads it anew; the admin API does so after a change, so that the next request of this isolate sees it. */
export async function refresh(env: Env): Promise<Snapshot> {
  // Not a reading that is under way: that one may have begun before the change.
  const reading = load(env);
  loading = reading;
  loadingSince = Date.now();
  try {
    const read = await reading;
    if (!current || read.takenAt >= current.takenAt) current = read;
    return read;
  } finally {
    if (loading === reading) loading = undefined;
  }
}

/** The version of a model's price that is in force at `now`; undefined: the model has no price and is not sold. */
export function priceOf(view: Snapshot, model: string, now: number): PriceVersion | undefined {
  return view.prices.get(model)?.findLast((version) => version.effectiveAt <= now);
}

/** An address at a backend; operators end base addresses with a slash or without. */
export function urlAt(backend: Pick<Backend, "url">, path: string): string {
  return backend.url.replace(/\/+$/, "") + path;
}

const grouped = new WeakMap<Snapshot, ReadonlyMap<string, readonly Backend[]>>();

/** The backends that serve a model. */
export function backendsOf(view: Snapshot, model: string): readonly Backend[] {
  let byModel = grouped.get(view);
  if (!byModel)
    grouped.set(view, (byModel = Map.groupBy(view.backends.values(), (backend) => backend.model)));
  return byModel.get(model) ?? [];
}

/** Backends alone, read now: for an alarm, which has no snapshot. */
export async function loadBackends(env: Env): Promise<Map<string, Backend>> {
  return usable(env, await drizzle(env.DB).select().from(backends).all());
}

async function load(env: Env): Promise<Snapshot> {
  const db = drizzle(env.DB);
  const now = Date.now();
  const [modelRows, priceRows, regionRows, backendRows] = await db.batch([
    db.select().from(models),
    db
      .select()
      .from(prices)
      .where(
        sql`${prices.effectiveAt} >= coalesce((select max(p.effective_at) from prices p where p.model = ${prices.model} and p.effective_at <= ${now}), 0)`,
      )
      .orderBy(asc(prices.effectiveAt), asc(prices.id)),
    db.select().from(regions),
    db.select().from(backends),
  ]);
  return {
    takenAt: now,
    models: new Map(modelRows.map((row) => [row.id, row])),
    prices: Map.groupBy(priceRows, (row) => row.model),
    regions: new Map(regionRows.map((row) => [row.id, row])),
    backends: usable(env, backendRows),
  };
}

/** A backend that cannot be called, for want of a secret or of words, is left out, and said so. */
function usable(env: Env, rows: readonly (typeof backends.$inferSelect)[]): Map<string, Backend> {
  const out = new Map<string, Backend>();
  for (const { secretName, createdAt: _, ...row } of rows) {
    const secret = secretName.startsWith("BACKEND_") ? env[secretName as `BACKEND_${string}`] : undefined;
    const dialect = dialectOf(row.kind);
    if (secret && dialect) out.set(row.id, { ...row, secret, keepsAttempts: dialect.keepsAttempts });
    else if (dialect) console.error(`backend ${row.id} is left out: no secret named ${secretName} is set`);
    else console.error(`backend ${row.id} is left out: its kind '${row.kind}' is not known`);
  }
  return out;
}
