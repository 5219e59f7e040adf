/**
 * GET /v1/requests/{id}: one request with everything that is known of it: what /v1/generation says, the journal's
 * sequence, its prices, what each class of token cost, when each step began and ended, and who else could have served.
 */
import { eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import type { AppEnv } from "../app.ts";
import { iso } from "../clock.ts";
import { prices } from "../db/d1/schema.ts";
import type { TraceRecord } from "../dispatch/trace.ts";
import { notFound, Refusal } from "../errors.ts";
import { answerId, requestOfAnswer } from "../ids.ts";
import type { JournalRow } from "../objects/ledger.ts";
import { costByClass } from "./cost-by-class.ts";
import { openView, settledView } from "./generation.ts";
import { entriesOf } from "./read.ts";

export async function oneRequest(c: Context<AppEnv>): Promise<Response> {
  const id = c.req.param("id") ?? "";
  const request = requestOfAnswer(id);
  const found = request && (await entriesOf(c, request));
  if (!found) throw new Refusal(notFound("No such request in this account.", "not_found", "id"));
  const base = { object: "request", id: answerId(request), request_id: request };
  if (found.state === "open") {
    const nothing = { journal_sequence: null, prices: null, cost_by_class: null, spans: [], placements: [] };
    return c.json({ ...base, ...openView(found), ...nothing });
  }
  const settled = found.rows.find((row) => row.kind === "usage")!;
  const view = settledView(found.rows)!;
  const price =
    settled.priceId === null
      ? undefined
      : await drizzle(c.env.DB).select().from(prices).where(eq(prices.id, settled.priceId)).get();
  return c.json({
    ...base,
    ...view,
    journal_sequence: settled.sequence,
    prices: price
      ? {
          id: price.id,
          effective_at: iso(price.effectiveAt),
          input: String(price.input),
          cached_input: String(price.cachedInput),
          output: String(price.output),
        }
      : null,
    cost_by_class: price ? costByClass(view.usage, price, BigInt(view.cost_nanodollars)) : null,
    ...traceView(settled.trace, settled),
  });
}

/** The settlement's own end is the journal's: an edge cannot know it before it is written. */
function traceView(trace: TraceRecord | null, { at }: Pick<JournalRow, "at">) {
  if (!trace) return { spans: [], placements: [] };
  const last = trace.spans.reduce((end, span) => Math.max(end, span.end), 0);
  return {
    spans: [
      ...trace.spans.map((span) => ({
        name: span.name as string,
        attempt: span.attempt ?? null,
        start_ms: span.start,
        end_ms: span.end,
        outcome: span.outcome ?? null,
      })),
      { name: "settle", attempt: null, start_ms: last, end_ms: Math.max(last, at - trace.at), outcome: null },
    ],
    placements: trace.placements.map(({ attempt, chosen, candidates }) => ({
      attempt,
      candidates: candidates.map(({ backend, region, terms, cost, excluded }) => ({
        backend,
        region,
        terms: termsOf(trace.terms, terms),
        cost: cost ?? null,
        chosen: backend === chosen,
        excluded_because: excluded ?? null,
      })),
    })),
  };
}

/** Terms of nothing are left out. */
function termsOf(names: readonly string[], values: readonly number[] | undefined): Record<string, number> {
  return Object.fromEntries(names.flatMap((name, i) => (values?.[i] ? [[name, values[i]] as const] : [])));
}
