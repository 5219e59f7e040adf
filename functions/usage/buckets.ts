/** Where the buckets of a range begin. The first and the last may be cut by the range. */
import { QUARTER_HOUR_MS } from "../clock.ts";
import { dayAt, nextHour, startOfDay, type Zone } from "./zone.ts";

export const BUCKETS = ["quarter_hour", "hour", "day"] as const;
export type Bucket = (typeof BUCKETS)[number];

/** Buckets of one answer. */
export const MAX_BUCKETS = 400;

/** In rising order, the first at `from`; undefined: more than MAX_BUCKETS. Both ends are whole quarter hours. */
export function bucketStarts(from: number, to: number, bucket: Bucket, zone: Zone): number[] | undefined {
  const starts: number[] = [];
  for (let start = from; start < to; start = nextStart(start, bucket, zone)) {
    if (starts.length === MAX_BUCKETS) return undefined;
    starts.push(start);
  }
  return starts;
}

function nextStart(start: number, bucket: Bucket, zone: Zone): number {
  if (bucket === "quarter_hour") return start + QUARTER_HOUR_MS;
  if (bucket === "hour") return nextHour(zone, start);
  for (let day = dayAt(zone, start) + 1; ; day++) {
    const next = startOfDay(zone, day);
    if (next > start) return next; // A day that is missing begins where the one after it does.
  }
}
