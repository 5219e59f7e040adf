/** What GET /v1/usage may be asked for. Times are UTC; a range is widened to whole quarter hours. */
import { z } from "zod";
import { DAY_MS, HOUR_MS, QUARTER_HOUR_MS, quarterHourOf, SECOND_MS } from "../clock.ts";

export const BUCKET_MS = { quarter_hour: QUARTER_HOUR_MS, hour: HOUR_MS, day: DAY_MS } as const;
export type Bucket = keyof typeof BUCKET_MS;

const MAX_BUCKETS = 3_000;
const MAX_DAYS = 366;
/** The year 2200: beyond it somebody sent milliseconds as seconds. */
const MAX_MS = Date.UTC(2200);

const instant = z.string().transform((text, context): number => {
  const ms = instantOf(text);
  if (ms !== undefined && ms >= 0 && ms <= MAX_MS) return ms;
  context.addIssue("must be ISO 8601 with a zone, a date, or unix seconds");
  return z.NEVER;
});

const zoned = z.iso.datetime({ offset: true });
const date = z.iso.date();

function instantOf(text: string): number | undefined {
  if (/^\d{1,12}$/.test(text)) return Number(text) * SECOND_MS;
  return zoned.safeParse(text).success || date.safeParse(text).success ? Date.parse(text) : undefined;
}

const filter = z.string().min(1).max(200).optional();

/** Unknown parameters are refused: a mistyped filter would answer the sum of everything. */
export const usageQuery = z
  .strictObject({
    from: instant.optional(),
    to: instant.optional(),
    bucket: z.enum(["quarter_hour", "hour", "day"]).default("hour"),
    model: filter,
    key: filter,
    region: filter,
  })
  .transform((query, context): UsageQuery => {
    const to = query.to ?? Math.max(Date.now(), query.from ?? 0);
    const from = query.from ?? to - DAY_MS;
    const { model, key, region, bucket } = query;
    const snapped = {
      from: quarterHourOf(Math.max(0, from)),
      to: quarterHourOf(to + QUARTER_HOUR_MS - 1),
    };
    const issue = problem(from, to, snapped, bucket);
    if (!issue)
      return { ...snapped, snapped: snapped.from !== from || snapped.to !== to, bucket, model, key, region };
    context.addIssue({ code: "custom", ...issue });
    return z.NEVER;
  });

export interface UsageQuery {
  /** Inclusive and exclusive, ms since the epoch; both whole quarter hours. */
  readonly from: number;
  readonly to: number;
  /** Whether the range was widened. */
  readonly snapped: boolean;
  readonly bucket: Bucket;
  readonly model: string | undefined;
  readonly key: string | undefined;
  readonly region: string | undefined;
}

function problem(
  from: number,
  to: number,
  snapped: { from: number; to: number },
  bucket: Bucket,
): { path: string[]; message: string } | undefined {
  if (to < from) return { path: ["to"], message: "must not be before from" };
  if (snapped.to - snapped.from > MAX_DAYS * DAY_MS)
    return { path: ["from"], message: `a range has at most ${MAX_DAYS} days` };
  const count = bucketStarts(snapped.from, snapped.to, bucket).length;
  if (count > MAX_BUCKETS) {
    return { path: ["bucket"], message: `the range has ${count} buckets, at most ${MAX_BUCKETS} are served` };
  }
  return undefined;
}

/** Where the buckets of a range begin. Hours and days are UTC's; the first and the last may be cut by the range. */
export function bucketStarts(from: number, to: number, bucket: Bucket): number[] {
  const size = BUCKET_MS[bucket];
  const starts: number[] = [];
  for (let start = from; start < to; start = Math.floor(start / size) * size + size) starts.push(start);
  return starts;
}
