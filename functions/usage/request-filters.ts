/** What lists of requests may be narrowed by: read from the query, and asked of D1 and of journal rows alike. */
import { and, eq, gte, inArray, lt, type SQL } from "drizzle-orm";
import { z } from "zod";
import type { Ending } from "../admission/holder.ts";
import type { events } from "../db/d1/schema.ts";
import { filter, instant, momentOf } from "./range.ts";
import type { ListedRow } from "./request-row.ts";
import { FAILURES, OUTCOMES, type Outcome, outcomeOf } from "./rollup.ts";
import { UTC } from "./zone.ts";

const moment = instant.transform((text) => momentOf(text, UTC)!);

export const filterFields = {
  from: moment.optional(),
  to: moment.optional(),
  outcome: z.enum(OUTCOMES).optional(),
  model: filter,
  region: filter,
  key: filter,
  backend: filter,
  min_ttft_ms: z.coerce.number().int().min(0).max(86_400_000).optional(),
} as const;

export type RequestFilters = z.output<z.ZodObject<typeof filterFields>>;

export const endsBeforeItBegins = ({ from, to }: RequestFilters): boolean =>
  from !== undefined && to !== undefined && to < from;

const ENDINGS: Readonly<Record<Outcome, readonly Ending[]>> = {
  finished: ["finished"],
  client_left: ["client_left"],
  refused: ["refused"],
  failed: FAILURES,
};

type Columns = Pick<
  typeof events,
  "kind" | "at" | "ending" | "model" | "region" | "keyId" | "backend" | "ttftMs"
>;

/** On the columns of events, or of a part of them. */
export function matching(columns: Columns, filters: RequestFilters): SQL | undefined {
  const { from, to, outcome, model, region, key, backend, min_ttft_ms } = filters;
  return and(
    eq(columns.kind, "usage"),
    from === undefined ? undefined : gte(columns.at, from),
    to === undefined ? undefined : lt(columns.at, to),
    outcome && inArray(columns.ending, [...ENDINGS[outcome]]),
    model === undefined ? undefined : eq(columns.model, model),
    region === undefined ? undefined : eq(columns.region, region),
    key === undefined ? undefined : eq(columns.keyId, key as `key_${string}`),
    backend === undefined ? undefined : eq(columns.backend, backend),
    min_ttft_ms === undefined ? undefined : gte(columns.ttftMs, min_ttft_ms),
  );
}

/** The same of a row that D1 does not have yet. */
export function matches(row: ListedRow, filters: RequestFilters): boolean {
  const { from, to, outcome, model, region, key, backend, min_ttft_ms } = filters;
  return (
    row.kind === "usage" &&
    (from === undefined || row.at >= from) &&
    (to === undefined || row.at < to) &&
    (outcome === undefined || outcomeOf(row.ending) === outcome) &&
    (model === undefined || row.model === model) &&
    (region === undefined || row.region === region) &&
    (key === undefined || row.keyId === key) &&
    (backend === undefined || row.backend === backend) &&
    (min_ttft_ms === undefined || (row.ttftMs ?? -1) >= min_ttft_ms)
  );
}
