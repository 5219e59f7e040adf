/**
 * What a backend's `/metrics` says of its load and its caches. The text is Prometheus's exposition format 0.0.4,
 * one sample a line; the names are the dialect's. Pure, bounded, and never throws: a backend's text is untrusted.
 */
import type { Alternatives, Dialect, MetricWords } from "../dispatch/dialects/dialect.ts";

/** Each undefined where the backend does not say. */
export interface Signals {
  readonly running?: number;
  readonly waiting?: number;
  /** How full the cache is, 0 to 1. */
  readonly cacheUse?: number;
  /** Tokens since the backend's start: rates come from two readings. A smaller number is a new start. */
  readonly prefixHits?: number;
  readonly prefixQueries?: number;
  /** Since the start, too: seconds and tokens of decoding, and of computing prompts. */
  readonly decodeSeconds?: number;
  readonly decodeTokens?: number;
  readonly prefillSeconds?: number;
  readonly prefillTokens?: number;
}

/** vLLM's is 70 kB; a text beyond this is refused, whoever sends it. */
export const MAX_METRICS_BYTES = 2 * 1024 * 1024;
const MAX_LINES = 50_000;

/** The signals in a text; undefined where the dialect has no metrics or the text is beyond all measure. */
export function readSignals({ metrics }: Dialect, text: string): Signals | undefined {
  if (!metrics || text.length > MAX_METRICS_BYTES) return undefined;
  const wanted = new Set(Object.values(metrics).flat(2));
  const samples = new Map<string, number[]>();
  let lines = 0;
  for (let start = 0; start < text.length; ) {
    if (++lines > MAX_LINES) return undefined;
    const newline = text.indexOf("\n", start);
    const end = newline === -1 ? text.length : newline;
    const sample = readSample(text.slice(start, end), wanted);
    if (sample) {
      const seen = samples.get(sample.name);
      if (seen) seen.push(sample.value);
      else samples.set(sample.name, [sample.value]);
    }
    start = end + 1;
  }
  const out: { -readonly [name in keyof MetricWords]?: number } = {};
  for (const name of Object.keys(metrics) as (keyof MetricWords)[]) {
    // A backend of several engines has a sample each: their requests and tokens add up, and the fullest cache is
    // the one that will evict.
    const value = name === "cacheUse" ? most(metrics[name], samples) : sum(metrics[name], samples);
    if (value !== undefined && !(name === "cacheUse" && value > 1)) out[name] = value;
  }
  return out;
}

/** One sample line of a wanted name: `name{label="value"} 1.5 [timestamp]`. Anything else is nothing. */
function readSample(line: string, wanted: ReadonlySet<string>): { name: string; value: number } | undefined {
  const name = /^[a-zA-Z_:][\w:]*/.exec(line)?.[0];
  if (name === undefined || !wanted.has(name)) return undefined;
  const rest =
    line[name.length] === "{" ? line.slice(endOfLabels(line, name.length)) : line.slice(name.length);
  const number = /^[ \t]+([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(?:[ \t]+-?\d+)?[ \t\r]*$/.exec(rest)?.[1];
  const value = Number(number);
  // NaN and infinities are numbers to Prometheus, and no load.
  return number !== undefined && value >= 0 && value <= Number.MAX_SAFE_INTEGER ? { name, value } : undefined;
}

/** The index after the closing brace: a quoted value may hold a brace, and an escaped quote. */
function endOfLabels(line: string, open: number): number {
  let quoted = false;
  for (let at = open; at < line.length; at++) {
    if (quoted && line[at] === "\\") at++;
    else if (line[at] === '"') quoted = !quoted;
    else if (line[at] === "}" && !quoted) return at + 1;
  }
  return line.length;
}

type Samples = ReadonlyMap<string, readonly number[]>;

function sum(words: Alternatives, samples: Samples): number | undefined {
  const values = valuesOf(words, samples);
  return values.length === 0 ? undefined : values.reduce((total, value) => total + value, 0);
}

function most(words: Alternatives, samples: Samples): number | undefined {
  const values = valuesOf(words, samples);
  return values.length === 0 ? undefined : values.reduce((high, value) => Math.max(high, value));
}

/** The samples of the first alternative that has one. */
function valuesOf(words: Alternatives, samples: Samples): readonly number[] {
  for (const names of words) {
    const values = names.flatMap((name) => samples.get(name) ?? []);
    if (values.length > 0) return values;
  }
  return [];
}
