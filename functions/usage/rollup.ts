/**
 * What journal rows add to the rollups: sums by (quarter hour, model, region, backend, key), taken in memory over a
 * message, so that one upsert a group is enough. Pure; usage/project.ts writes it.
 */
import type { Ending } from "../admission/holder.ts";
import { quarterHourOf, SECOND_MS } from "../clock.ts";
import { minus, type Nanodollars, ZERO } from "../money.ts";
import type { JournalRow } from "../objects/ledger.ts";
import { EMPTY, type Histogram, histogramOf } from "./histogram.ts";

export interface Group {
  readonly bucket: number;
  readonly model: string;
  readonly region: string;
  readonly backend: string;
  readonly keyId: string;
}

export interface Sums {
  requests: number;
  failures: number;
  clientLeft: number;
  refused: number;
  /** Requests of more than one attempt, whatever their end. */
  failedOver: number;
  input: number;
  cachedInput: number;
  output: number;
  reasoning: number;
  cost: Nanodollars;
}

export type Rollup = Group & Sums & { readonly ttft: Histogram; readonly speed: Histogram };

/** Endings that count as failures. A client's leaving and a refusal of what it sent are its own. */
export const FAILURES: readonly Ending[] = ["backend_failed", "deadline", "expired"];

/** How a request ended, as customers see it: four kinds, one of them for every request. */
export const OUTCOMES = ["finished", "client_left", "failed", "refused"] as const;
export type Outcome = (typeof OUTCOMES)[number];

export function outcomeOf(ending: Ending | null): Outcome {
  if (ending === "client_left" || ending === "refused") return ending;
  return ending !== null && FAILURES.includes(ending) ? "failed" : "finished";
}

/** Two groups are the same when their texts are. */
export const groupText = (group: Group): string =>
  JSON.stringify([group.bucket, group.model, group.region, group.backend, group.keyId]);

/** Credits are no usage and add nothing. An adjustment adds tokens and cost, in its own quarter hour. */
export function rollupsOf(rows: readonly JournalRow[]): Rollup[] {
  const counted = rows.filter((row) => row.kind !== "credit");
  return [...Map.groupBy(counted, (row) => groupText(groupOf(row))).values()].map((members) => ({
    ...groupOf(members[0]!),
    ...sumsOf(members),
    ttft: histogramOf(members.flatMap((row) => (isRequest(row) && row.ttftMs !== null ? [row.ttftMs] : []))),
    speed: histogramOf(members.flatMap((row) => (isRequest(row) ? speedOf(row) : []))),
  }));
}

function groupOf(row: JournalRow): Group {
  const { model, region, backend, keyId } = row;
  return {
    bucket: quarterHourOf(row.at),
    model: model ?? "",
    region: region ?? "",
    backend: backend ?? "",
    keyId: keyId ?? "",
  };
}

function sumsOf(rows: readonly JournalRow[]): Sums {
  const sums: Sums = {
    requests: 0,
    failures: 0,
    clientLeft: 0,
    refused: 0,
    failedOver: 0,
    input: 0,
    cachedInput: 0,
    output: 0,
    reasoning: 0,
    cost: ZERO,
  };
  for (const row of rows) {
    if (isRequest(row)) {
      sums.requests += 1;
      const outcome = outcomeOf(row.ending);
      if (outcome === "failed") sums.failures += 1;
      else if (outcome === "client_left") sums.clientLeft += 1;
      else if (outcome === "refused") sums.refused += 1;
      if ((row.attempts?.length ?? 0) > 1) sums.failedOver += 1;
    }
    sums.input += row.input ?? 0;
    sums.cachedInput += row.cachedInput ?? 0;
    sums.output += row.output ?? 0;
    sums.reasoning += row.reasoning ?? 0;
    sums.cost = minus(sums.cost, row.amount);
  }
  return sums;
}

const isRequest = (row: JournalRow): boolean => row.kind === "usage";

/** Tokens a second after the first, where there were two at least and time between them. */
export function speedOf({
  output,
  durationMs,
  ttftMs,
}: Pick<JournalRow, "output" | "durationMs" | "ttftMs">): number[] {
  if (output === null || durationMs === null || ttftMs === null) return [];
  const seconds = (durationMs - ttftMs) / SECOND_MS;
  return output > 1 && seconds > 0 ? [(output - 1) / seconds] : [];
}

/** Histograms cross SQL as hex: D1 gives blobs in a form that Drizzle's column reads with Node's Buffer alone. */
export const toHex = (histogram: Histogram): string =>
  Array.from(histogram, (byte) => byte.toString(16).padStart(2, "0")).join("");

export const fromHex = (hex: string): Histogram =>
  hex === "" ? EMPTY : Uint8Array.from(hex.match(/../g)!, (pair) => Number.parseInt(pair, 16));
