/** Asks a backend for its own gauges: health, metrics where its dialect has them, and its list of models. */
import { dialects } from "../dispatch/dialects/by-kind.ts";
import { beginningOf } from "../dispatch/read.ts";
import type { Load } from "./load.ts";
import { MAX_METRICS_BYTES, readSignals, type Signals } from "./metrics.ts";
import { MAX_MODELS, readHealth, readModels } from "./probe.ts";
import { type Backend, urlAt } from "./snapshot.ts";

export interface Gauges {
  readonly atMs: number;
  readonly up: boolean;
  readonly draining: boolean;
  /** Whether being up proves that a request would be served. */
  readonly certain: boolean;
  /** Of this life of its process, where it says. */
  readonly bootId?: string;
  readonly load: Pick<Load, "running" | "waiting" | "cacheUsage">;
  /** Its counters, where it has `/metrics`. */
  readonly signals?: Signals;
}

const MAX_HEALTH_BYTES = 16_384;
const METRICS_LIMIT_MS = 2_000;
const MAX_MODELS_BYTES = 1024 * 1024;
const MODELS_LIMIT_MS = 5_000;

/** Never throws: a backend that does not answer is down. */
export async function readGauges(backend: Backend): Promise<Gauges> {
  const dialect = dialects[backend.kind];
  const [health, signals] = await Promise.all([
    ask(backend, dialect.health.path, dialect.health.bearer, dialect.health.limitMs, MAX_HEALTH_BYTES),
    dialect.metrics ? ask(backend, "/metrics", true, METRICS_LIMIT_MS, MAX_METRICS_BYTES) : undefined,
  ]);
  const atMs = Date.now();
  if (!health) return { atMs, up: false, draining: false, certain: true, load: {} };
  const said = readHealth(dialect, health.status, health.text);
  const metrics = signals?.status === 200 ? readSignals(dialect, signals.text) : undefined;
  const running = metrics?.running ?? said.running;
  const waiting = metrics?.waiting ?? said.waiting;
  return {
    atMs,
    up: said.state === "up",
    draining: said.state === "draining",
    certain: said.certain,
    ...(said.bootId !== undefined && { bootId: said.bootId }),
    ...(metrics && { signals: metrics }),
    load: {
      ...(running !== undefined && { running }),
      ...(waiting !== undefined && { waiting }),
      ...(metrics?.cacheUse !== undefined && { cacheUsage: metrics.cacheUse }),
    },
  };
}

/**
 * Whether its own list of models lacks `served_as`: SGLang answers to any name, with a model that is another.
 * Undefined: it does not list, or lists more than is read. Never throws.
 */
export async function lacksModel(backend: Backend): Promise<boolean | undefined> {
  const answer = await ask(backend, "/v1/models", true, MODELS_LIMIT_MS, MAX_MODELS_BYTES);
  if (answer?.status !== 200) return undefined;
  const models = readModels(answer.text);
  if (models.some(({ id }) => id === backend.servedAs)) return false;
  return models.length === 0 || models.length === MAX_MODELS ? undefined : true;
}

async function ask(
  backend: Backend,
  path: string,
  bearer: boolean,
  limitMs: number,
  maxBytes: number,
): Promise<{ status: number; text: string } | undefined> {
  try {
    const response = await fetch(urlAt(backend, path), {
      headers: bearer ? { authorization: `Bearer ${backend.secret}` } : {},
      redirect: "manual",
      signal: AbortSignal.timeout(limitMs),
    });
    return { status: response.status, text: await beginningOf(response, maxBytes) };
  } catch {
    return undefined;
  }
}
