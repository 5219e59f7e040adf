/** What GET /v1/usage answers, and what the page makes of it. */
import { useLocation } from "preact-iso/router";
import { usd, usdRequest } from "../../format.ts";
import { useApi } from "../../query.ts";
import { bucketOf, changedQuery, FILTERS, placeOf, rangeStart, readView, type View } from "../../state.ts";
import type { Names } from "../names.ts";

type Count = number | string;
interface Fields<Number_, Money, Ttft, Speed, Share> {
  readonly requests: Number_;
  readonly finished: Number_;
  readonly client_left: Number_;
  readonly failed: Number_;
  readonly refused: Number_;
  readonly failed_over: Number_;
  readonly input_tokens: Number_;
  readonly cached_input_tokens: Number_;
  readonly output_tokens: Number_;
  readonly reasoning_tokens: Number_;
  readonly cost_nanodollars: Money;
  readonly ttft_ms: Ttft;
  readonly output_tokens_per_second: Speed;
  readonly cache_share: Share;
}
type Ttft = { readonly p50: number; readonly p95: number; readonly p99: number } | null;
type Speed = { readonly p5: number; readonly p50: number } | null;
export type Totals = Fields<Count, string, Ttft, Speed, number | null>;
export type Over = Fields<
  readonly Count[],
  readonly string[],
  readonly Ttft[],
  readonly Speed[],
  readonly (number | null)[]
>;

export interface Group {
  readonly totals: Totals;
  readonly previous: Totals | null;
  readonly series: Over;
}

export interface Usage {
  readonly from: string;
  readonly to: string;
  readonly bucket: "quarter_hour" | "hour" | "day";
  readonly time_zone: string;
  readonly as_of: {
    readonly settled_through: string;
    readonly journal_sequence: number;
    readonly projected_sequence: number;
    readonly pending_events: number;
  };
  readonly open: { readonly requests: number; readonly held_nanodollars: string };
  readonly pending_count: number;
  readonly running_bucket: boolean;
  readonly buckets: readonly string[];
  readonly totals: Totals;
  readonly series: Over;
  readonly previous: { readonly totals: Totals; readonly series: Over } | null;
  readonly groups: readonly (Group & { readonly id: string })[];
  readonly other: Group | null;
  readonly marks: readonly { readonly at: string; readonly kind: string; readonly label: string }[];
}

const ownZone = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Changes the address; "push" where going back should undo it. */
export type Change = (values: Readonly<Record<string, string | null>>, way?: "push") => void;

/** What the address asks for, and how to change it. */
export function useView(): { view: View; change: Change } {
  const { path, query, route } = useLocation();
  return {
    view: readView(query, ownZone),
    change: (values, way) => route(path + changedQuery(query, values), way !== "push"),
  };
}

/** The buckets that a chart was dragged over become the range; one alone is too few to see anything. */
export const zoom =
  ({ buckets, to }: Usage, change: Change) =>
  (first: number, last: number): void => {
    const from = buckets[first];
    if (from && last > first) change({ from, to: buckets[last + 1] ?? to, range: null }, "push");
  };

export const useUsage = (view: View) => useApi<Usage>(`/v1/usage?${usageQuery(view)}`, 5_000);

function usageQuery(view: View): string {
  const { range, chosen, zone, group, compare, filters } = view;
  const query = new URLSearchParams({
    from: chosen?.from ?? rangeStart(range, zone, Date.now()),
    ...(chosen && { to: chosen.to }),
    bucket: bucketOf(view),
    time_zone: zone,
    group_by: group,
    ...(compare && { compare: "previous" }),
  });
  for (const name of FILTERS) if (filters[name]) query.set(name, filters[name]);
  return query.toString();
}

/** What a group is called: keys and backends by their names, where those may be known. */
export const nameOf =
  (group: View["group"], names: Names) =>
  (id: string): string =>
    (group === "key" ? names.key(id) : group === "backend" ? names.backend(id) : id) ?? id;

/** The requests behind a figure. */
export function requestsLink(view: View, more: Record<string, string> = {}): string {
  return `/dashboard/requests${changedQuery({ ...placeOf(view), ...view.filters }, more)}`;
}

/** Two digits; a sum under a cent shows what it is, so that little never reads as nothing. */
export function sum(nano: string): string {
  const value = BigInt(nano);
  const size = value < 0n ? -value : value;
  return size > 0n && size < 10_000_000n ? usdRequest(value) : usd(value);
}

/** Only for drawing: how tall a bar is. */
export const tall = (nano: string): number => Number(BigInt(nano)) / 1e9;

/** Rows and the rest must add up to the total, to the nanodollar. */
export function addsUp({ groups, other, totals }: Pick<Usage, "groups" | "other" | "totals">): boolean {
  const rows = [...groups, ...(other ? [other] : [])];
  const cost = rows.reduce((all, { totals }) => all + BigInt(totals.cost_nanodollars), 0n);
  const requests = rows.reduce((all, { totals }) => all + BigInt(totals.requests), 0n);
  return cost === BigInt(totals.cost_nanodollars) && requests === BigInt(totals.requests);
}

export const COLOURS = ["--s1", "--s2", "--s3", "--s4", "--s5"] as const;
export const OTHER = "--s6";
