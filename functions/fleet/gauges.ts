/** Asks a backend for its own gauges: health, and metrics where its dialect has them. */
import { dialects } from "../dispatch/dialects/by-kind.ts";
import { beginningOf } from "../dispatch/read.ts";
import type { Load } from "./load.ts";
import { MAX_METRICS_BYTES, readSignals } from "./metrics.ts";
import { readHealth } from "./probe.ts";
import { type Backend, urlAt } from "./snapshot.ts";

export interface Gauges {
  readonly atMs: number;
  readonly up: boolean;
  readonly draining: boolean;
  /** Whether being up proves that a request would be served. */
  readonly certain: boolean;
  /** Of this life of its process, where it says. */
  readonly bootId?: string;
  readonly load: Partial<Load>;
}

const MAX_HEALTH_BYTES = 16_384;
const METRICS_LIMIT_MS = 2_000;

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
    load: {
      ...(running !== undefined && { running }),
      ...(waiting !== undefined && { waiting }),
      ...(metrics?.cacheUse !== undefined && { cacheUsage: metrics.cacheUse }),
    },
  };
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
