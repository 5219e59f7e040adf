/** What the address says: range, zone, group and filters. Every page reads it from there and nowhere else. */

export const RANGES = {
  "6h": { label: "6 hours", hours: 6, bucket: "quarter_hour" },
  "24h": { label: "24 hours", hours: 24, bucket: "hour" },
  "7d": { label: "7 days", days: 7, bucket: "day" },
  "30d": { label: "30 days", days: 30, bucket: "day" },
  "90d": { label: "90 days", days: 90, bucket: "day" },
} as const;
export type RangeName = keyof typeof RANGES;

export const GROUPS = { model: "Model", region: "Region", key: "Key" } as const;
export type Group = keyof typeof GROUPS;

export const FILTERS = ["model", "region", "key", "backend"] as const;
export type Filter = (typeof FILTERS)[number];

export interface View {
  readonly range: RangeName;
  readonly zone: string;
  readonly group: Group;
  readonly filters: Readonly<Partial<Record<Filter, string>>>;
}

/** What is not known falls back to the default: an old link shows something. */
export function readView(query: Readonly<Record<string, string>>, ownZone: string): View {
  const range = query.range ?? "";
  const group = query.group ?? "";
  return {
    range: Object.hasOwn(RANGES, range) ? (range as RangeName) : "24h",
    zone: isZone(query.zone) ? query.zone : ownZone,
    group: Object.hasOwn(GROUPS, group) ? (group as Group) : "model",
    filters: Object.fromEntries(FILTERS.flatMap((name) => (query[name] ? [[name, query[name]]] : []))),
  };
}

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

const HOUR_MS = 3_600_000;
const QUARTER_MS = HOUR_MS / 4;

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
