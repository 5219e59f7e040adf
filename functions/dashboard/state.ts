/** What the address says: range, zone, group and filters. Every page reads it from there and nowhere else. */
import { day, moment } from "./format.ts";

export const RANGES = {
  "6h": { label: "6 hours", hours: 6, bucket: "quarter_hour" },
  "24h": { label: "24 hours", hours: 24, bucket: "hour" },
  "7d": { label: "7 days", days: 7, bucket: "day" },
  "30d": { label: "30 days", days: 30, bucket: "day" },
  "90d": { label: "90 days", days: 90, bucket: "day" },
} as const;
export type RangeName = keyof typeof RANGES;

const HOUR_MS = 3_600_000;
const QUARTER_MS = HOUR_MS / 4;

export const GROUPS = { model: "Model", region: "Region", backend: "Backend", key: "Key" } as const;
export type Group = keyof typeof GROUPS;

export const FILTERS = ["model", "region", "key", "backend"] as const;
export type Filter = (typeof FILTERS)[number];

/** Two moments, ISO: what a chart was dragged over, or days that were chosen. They stand in the range's place. */
export interface Chosen {
  readonly from: string;
  readonly to: string;
}

export interface View {
  readonly range: RangeName;
  readonly chosen: Chosen | null;
  readonly zone: string;
  readonly group: Group;
  /** With the period before. */
  readonly compare: boolean;
  readonly filters: Readonly<Partial<Record<Filter, string>>>;
}

/** What is not known falls back to the default: an old link shows something. */
export function readView(query: Readonly<Record<string, string>>, ownZone: string): View {
  const range = query.range ?? "";
  const group = query.group ?? "";
  return {
    chosen: readChosen(query),
    compare: query.compare !== "off",
    range: Object.hasOwn(RANGES, range) ? (range as RangeName) : "24h",
    zone: isZone(query.zone) ? query.zone : ownZone,
    group: Object.hasOwn(GROUPS, group) ? (group as Group) : "model",
    filters: Object.fromEntries(FILTERS.flatMap((name) => (query[name] ? [[name, query[name]]] : []))),
  };
}

/** What the API answers at once. */
const MOST_DAYS = 366;

function readChosen({ from = "", to = "" }: Readonly<Record<string, string>>): Chosen | null {
  const [first, last] = [Date.parse(from), Date.parse(to)];
  if (!(first >= 0 && last > first && last - first <= MOST_DAYS * 24 * HOUR_MS)) return null;
  return { from: new Date(first).toISOString(), to: new Date(last).toISOString() };
}

/** What a link carries of the view: range or moments, and the zone. */
export const placeOf = ({ range, chosen, zone }: View): Record<string, string> =>
  chosen ? { ...chosen, zone } : { range, zone };

/** A range in words; what lies within one day names it once. */
export function rangeName({ range, chosen, zone }: Pick<View, "range" | "chosen" | "zone">): string {
  if (!chosen) return RANGES[range].label;
  const [from, to] = [moment(chosen.from, zone), moment(chosen.to, zone)];
  return `${from} to ${day(chosen.from, zone) === day(chosen.to, zone) ? to.slice(-5) : to}`;
}

/** Buckets that are neither too many to see nor too few. */
export function bucketOf({ range, chosen }: Pick<View, "range" | "chosen">): "quarter_hour" | "hour" | "day" {
  if (!chosen) return RANGES[range].bucket;
  const hours = (Date.parse(chosen.to) - Date.parse(chosen.from)) / HOUR_MS;
  return hours <= 12 ? "quarter_hour" : hours <= 96 ? "hour" : "day";
}

/** A calendar's days in a zone, both included, as moments. null: no such days. */
export function daysChosen(first: string, last: string, zone: string): Chosen | null {
  const [from, to] = [Date.parse(`${first}T00:00Z`), Date.parse(`${last}T00:00Z`)];
  if (!(from <= to)) return null;
  const next = to + 24 * HOUR_MS;
  return readChosen({
    from: new Date(startOfDay(from, zone)).toISOString(),
    to: new Date(startOfDay(next, zone)).toISOString(),
  });
}

/** The day of a moment in a zone: `2026-11-24`. */
export const isoDay = (iso: string, zone: string): string =>
  localDate(Date.parse(iso), zone)
    .map((part, i) => String(part).padStart(i === 0 ? 4 : 2, "0"))
    .join("-");

/** The same query with some values changed; null takes one away. */
export function changedQuery(
  query: Readonly<Record<string, string>>,
  change: Readonly<Record<string, string | null>>,
): string {
  const entries = Object.entries({ ...query, ...change }).filter(
    ([, value]) => value !== null && value !== "",
  );
  const text = new URLSearchParams(entries as [string, string][]).toString();
  return text && `?${text}`;
}

export function isZone(name: string | undefined): name is string {
  try {
    if (name) new Intl.DateTimeFormat("en", { timeZone: name });
    return !!name;
  } catch {
    return false;
  }
}

/** Where the range begins: whole local days, or whole quarter hours. It ends now. */
export function rangeStart(range: RangeName, zone: string, now: number): string {
  const about = RANGES[range];
  if ("hours" in about)
    return new Date(Math.ceil((now - about.hours * HOUR_MS) / QUARTER_MS) * QUARTER_MS).toISOString();
  const [year, month, day] = localDate(now, zone);
  return new Date(startOfDay(Date.UTC(year, month - 1, day - about.days + 1), zone)).toISOString();
}

function localDate(ms: number, zone: string): [number, number, number] {
  const parts = new Intl.DateTimeFormat("en-CA", { timeZone: zone, dateStyle: "short" })
    .format(ms)
    .split("-");
  return parts.map(Number) as [number, number, number];
}

/** The moment at which the zone's clock shows the midnight that `utc` would be. */
function startOfDay(utc: number, zone: string): number {
  let moment = utc;
  // The offset is the one of the moment itself, which a change of clocks may have moved.
  for (let turn = 0; turn < 2; turn++) moment = utc - offsetAt(moment, zone);
  return moment;
}

function offsetAt(ms: number, zone: string): number {
  const parts = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  }).formatToParts(ms);
  const of = (type: string) => Number(parts.find((part) => part.type === type)!.value);
  const wall = Date.UTC(of("year"), of("month") - 1, of("day"), of("hour"), of("minute"), of("second"));
  return wall - Math.floor(ms / 1_000) * 1_000;
}
