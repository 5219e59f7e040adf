/** One settled request as a line of a list: its journal row, with what came late added in. */
import { iso } from "../clock.ts";
import { answerId, type RequestId } from "../ids.ts";
import { formatUsd, minus, ZERO } from "../money.ts";
import type { JournalRow } from "../objects/ledger.ts";
import { outcomeOf, speedOf } from "./rollup.ts";

/** What a list needs of a journal row. Its trace is read with the one request that is opened. */
export type ListedRow = Omit<JournalRow, "trace" | "reference">;

/**
 * @param adjustments of this request, oldest first
 * @param isAwaited whether its count is still asked for: until then tokens and cost are unknown, not zero
 */
export function requestRow(row: ListedRow, adjustments: readonly ListedRow[], isAwaited: boolean) {
  const all = [row, ...adjustments];
  const total = (field: "input" | "cachedInput" | "output" | "reasoning") =>
    isAwaited ? null : all.reduce((sum, one) => sum + (one[field] ?? 0), 0);
  const cost = all.reduce((sum, one) => minus(sum, one.amount), ZERO);
  const attempts = row.attempts?.length ?? 0;
  const [speed] = speedOf(row);
  return {
    sequence: row.sequence,
    id: row.requestId && answerId(row.requestId),
    request_id: row.requestId,
    admitted_at: row.admittedAt === null ? null : iso(row.admittedAt),
    settled_at: iso(row.at),
    model: row.model,
    region: row.region,
    backend: row.backend,
    key: row.keyId,
    ending: row.ending,
    outcome: outcomeOf(row.ending),
    finish_reason: row.finishReason,
    attempts,
    failed_over: attempts > 1,
    input_tokens: total("input"),
    cached_input_tokens: total("cachedInput"),
    output_tokens: total("output"),
    reasoning_tokens: total("reasoning"),
    source: isAwaited ? null : all.at(-1)!.source,
    cost: isAwaited ? null : formatUsd(cost),
    cost_nanodollars: isAwaited ? null : String(cost),
    ttft_ms: row.ttftMs,
    duration_ms: row.durationMs,
    output_tokens_per_second: speed === undefined ? null : Math.round(speed * 10) / 10,
  };
}

/** Rows of a list, each with its adjustments among all that were read. */
export function requestRows(
  rows: readonly ListedRow[],
  adjustments: readonly ListedRow[],
  awaited: readonly RequestId[],
) {
  const late = Map.groupBy(adjustments, (row) => row.requestId);
  return rows.map((row) =>
    requestRow(row, late.get(row.requestId) ?? [], row.requestId !== null && awaited.includes(row.requestId)),
  );
}
