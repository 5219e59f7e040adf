/** What GET /v1/usage may be asked for. A range is widened to whole quarter hours. */
import { z } from "zod";
import { DAY_MS, quarterHourFrom, quarterHourOf, SECOND_MS } from "../clock.ts";
import { BUCKETS, type Bucket, bucketStarts, MAX_BUCKETS } from "./buckets.ts";
import { dayAt, startOfDay, UTC, type Zone, zoneOf } from "./zone.ts";

const MAX_DAYS = 366;
/** The year 2200: beyond it somebody sent milliseconds as seconds. */
const MAX_MS = Date.UTC(2200);

const zoned = z.iso.datetime({ offset: true });
const date = z.iso.date();
const unix = /^\d{1,12}$/;

/** A moment as text; `momentOf` reads it in the zone of its request. */
export const instant = z.string().refine((text) => momentOf(text, UTC) !== undefined, {
  error: "must be ISO 8601 with a zone, a date, or unix seconds",
});

/** A date alone is the beginning of that day in the zone. */
export function momentOf(text: string, zone: Zone): number | undefined {
  const ms = unix.test(text)
    ? Number(text) * SECOND_MS
    : date.safeParse(text).success
      ? Math.max(0, startOfDay(zone, Date.parse(text) / DAY_MS))
      : zoned.safeParse(text).success
        ? Date.parse(text)
        : undefined;
  return ms !== undefined && ms >= 0 && ms <= MAX_MS + DAY_MS ? ms : undefined;
}

export const filter = z.string().min(1).max(200).optional();

const GROUPS = ["model", "region", "backend", "key"] as const;
export type GroupBy = (typeof GROUPS)[number];

/** Unknown parameters are refused: a mistyped filter would answer the sum of everything. */
export const usageQuery = z
  .strictObject({
    from: instant.optional(),
    to: instant.optional(),
    bucket: z.enum(BUCKETS).optional(),
    time_zone: z.string().default("UTC"),
    group_by: z.enum(GROUPS).optional(),
    compare: z.enum(["previous"]).optional(),
    model: filter,
    key: filter,
    region: filter,
    backend: filter,
  })
  .transform((query, context): UsageQuery => {
    const refuse = (param: string, message: string) => {
      context.addIssue({ code: "custom", path: [param], message });
      return z.NEVER;
    };
    const zone = zoneOf(query.time_zone);
    if (!zone) return refuse("time_zone", "must be the IANA name of a time zone, such as Europe/Vienna");
    const asked = rangeOf(query, zone);
    const range = { from: quarterHourOf(asked.from), to: quarterHourFrom(asked.to) };
    if (asked.to < asked.from) return refuse("to", "must not be before from");
    if (range.to - range.from > MAX_DAYS * DAY_MS)
      return refuse("from", `a range has at most ${MAX_DAYS} days`);
    const fits = (bucket: Bucket) => bucketStarts(range.from, range.to, bucket, zone);
    const bucket = query.bucket ?? (fits("hour") ? "hour" : "day");
    const starts = fits(bucket);
    if (!starts)
      return refuse("bucket", `an answer has at most ${MAX_BUCKETS}: take larger ones or a shorter range`);
    const { group_by, compare, model, key, region, backend } = query;
    return {
      ...range,
      snapped: range.from !== asked.from || range.to !== asked.to,
      bucket,
      starts,
      zone,
      groupBy: group_by,
      previous: compare && before(range, zone),
      filters: { model, key, region, backend },
    };
  });

export interface UsageQuery extends Range {
  /** Whether the range was widened. */
  readonly snapped: boolean;
  readonly bucket: Bucket;
  readonly starts: readonly number[];
  readonly zone: Zone;
  readonly groupBy: GroupBy | undefined;
  /** How far back the period lies that this one is compared with. */
  readonly previous: Range | undefined;
  readonly filters: Filters;
}

/** Inclusive and exclusive, ms since the epoch; both whole quarter hours. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

export type Filters = Readonly<Record<GroupBy, string | undefined>>;

/** The last 24 hours where nothing is said. */
function rangeOf(query: { from?: string | undefined; to?: string | undefined }, zone: Zone): Range {
  const given = (text: string | undefined) => (text === undefined ? undefined : momentOf(text, zone));
  const from = given(query.from);
  const to = given(query.to) ?? Math.max(Date.now(), from ?? 0);
  return { from: from ?? Math.max(0, to - DAY_MS), to };
}

/** The period before: as many local days where the range is of whole ones (a day may have 23 hours), else as long. */
function before({ from, to }: Range, zone: Zone): Range {
  const [first, last] = [dayAt(zone, from), dayAt(zone, to)];
  const isWhole = from === startOfDay(zone, first) && to === startOfDay(zone, last);
  const start = isWhole ? startOfDay(zone, first - (last - first)) : from - (to - from);
  return { from: Math.max(0, start), to: from };
}
