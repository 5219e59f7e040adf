/** One request as GET /v1/generation shows it, from the account's object or from its events. */
import { iso } from "../clock.ts";
import { formatUsd, minus, type Nanodollars, ZERO } from "../money.ts";
import type { RequestView } from "../objects/account.ts";
import type { JournalRow } from "../objects/ledger.ts";

type Open = Extract<RequestView, { state: "open" }>;

/** Running, or its settlement is still to come: what is certain is where it runs and what it holds. */
export const openView = (open: Open) => ({
  state: "open",
  model: open.model,
  region: open.region,
  backend: open.backend,
  key: open.keyId,
  ending: null,
  finish_reason: null,
  usage: null,
  cost: null,
  cost_nanodollars: null,
  ...heldView(open.held),
  price: null,
  attempts: [],
  admitted_at: iso(open.admittedAt),
  settled_at: null,
  ttft_ms: null,
  duration_ms: null,
  adjustments: [],
});

/**
 * A request's usage row and what came after it, oldest first; undefined without one. Usage and cost are those of all
 * rows together; `adjustments` says what came late.
 */
export function settledView(rows: readonly Omit<JournalRow, "reference">[]) {
  const settled = rows.find((row) => row.kind === "usage");
  if (!settled) return undefined;
  const adjustments = rows.filter((row) => row.kind === "adjustment");
  const all = [settled, ...adjustments];
  const total = (field: "input" | "cachedInput" | "output" | "reasoning") =>
    all.reduce((sum, row) => sum + (row[field] ?? 0), 0);
  return {
    state: "settled",
    model: settled.model,
    region: settled.region,
    backend: settled.backend,
    key: settled.keyId,
    ending: settled.ending,
    finish_reason: settled.finishReason,
    usage: {
      prompt_tokens: total("input") + total("cachedInput"),
      cached_tokens: total("cachedInput"),
      completion_tokens: total("output"),
      reasoning_tokens: total("reasoning"),
      source: all.at(-1)!.source,
    },
    ...costView(all.reduce((cost, row) => minus(cost, row.amount), ZERO)),
    ...heldView(settled.held ?? ZERO),
    price: settled.priceId,
    attempts: settled.attempts ?? [],
    admitted_at: settled.admittedAt === null ? null : iso(settled.admittedAt),
    settled_at: iso(settled.at),
    ttft_ms: settled.ttftMs,
    duration_ms: settled.durationMs,
    adjustments: adjustments.map((row) => ({
      at: iso(row.at),
      prompt_tokens: (row.input ?? 0) + (row.cachedInput ?? 0),
      cached_tokens: row.cachedInput ?? 0,
      completion_tokens: row.output ?? 0,
      reasoning_tokens: row.reasoning ?? 0,
      source: row.source,
      ...costView(minus(ZERO, row.amount)),
    })),
  };
}

const costView = (cost: Nanodollars) => ({ cost: formatUsd(cost), cost_nanodollars: String(cost) });
const heldView = (held: Nanodollars) => ({ held: formatUsd(held), held_nanodollars: String(held) });
