/** What all charts of the page have in common: its buckets. */
import { signal } from "@preact/signals";
import { day, moment } from "../../format.ts";
import { rangeName, type View } from "../../state.ts";
import { type Change, type Usage, zoom } from "./usage.ts";

/** The bucket that is pointed at, in whichever chart. */
export const cursor = signal<number | null>(null);

export function frame(usage: Usage, view: View, change: Change) {
  const { buckets, bucket, time_zone: zone, running_bucket: running } = usage;
  const name = (index: number): string => {
    const start = buckets[index];
    if (start === undefined) return "";
    return bucket === "day" ? day(start, zone) : moment(start, zone);
  };
  return {
    cursor,
    count: buckets.length,
    running,
    rangeName: view.chosen ? "this range" : rangeName(view),
    select: zoom(usage, change),
    bucketName: name,
    axis: (index: number) => (bucket === "day" ? name(index) : name(index).slice(-5)),
  };
}
