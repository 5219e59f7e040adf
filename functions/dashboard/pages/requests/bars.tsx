/** How many requests ended how, over the range: dragging over bars, or opening one, makes that the range. */
import { signal } from "@preact/signals";
import { Chart } from "../../chart/chart.tsx";
import { clock, count, day, moment } from "../../format.ts";
import { useApi } from "../../query.ts";
import { rangeName } from "../../state.ts";
import { type ListView, listQuery, OUTCOMES } from "../requests-tools.tsx";

interface Histogram {
  readonly to: string;
  readonly buckets: readonly string[];
  readonly by_outcome: Readonly<Record<keyof typeof OUTCOMES, readonly (number | null)[]>>;
}

const EVERY_MS = 5_000;
const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;
const COLOURS = { finished: "--s1", client_left: "--s6", failed: "--s5", refused: "--s3" } as const;
const cursor = signal<number | null>(null);

export function Bars({ view, isLive }: { view: ListView; isLive: boolean }) {
  const { data } = useApi<Histogram>(
    `/v1/requests/histogram?${listQuery(view)}`,
    isLive ? EVERY_MS : undefined,
  );
  // As high as what comes.
  if (!data) return <div class="bars" aria-busy="true" />;
  const { buckets, by_outcome: counts, to } = data;
  const step = buckets.length > 1 ? Date.parse(buckets[1]!) - Date.parse(buckets[0]!) : MINUTE_MS;
  const endOf = (bucket: number) => Math.min(Date.parse(buckets[bucket]!) + step, Date.parse(to));
  const name = (bucket: number) => {
    const start = buckets[bucket] ?? to;
    if (step >= DAY_MS) return day(start, view.zone);
    return step < MINUTE_MS ? clock(start, view.zone) : moment(start, view.zone);
  };
  const sums = (Object.keys(OUTCOMES) as (keyof typeof OUTCOMES)[]).map(
    (id) => [id, counts[id].reduce<number>((sum, many) => sum + (many ?? 0), 0)] as const,
  );
  const all = sums.reduce((sum, [, many]) => sum + many, 0);
  // An outcome that nothing had takes no room.
  const series = sums
    .filter(([id, many]) => id === "finished" || many > 0)
    .map(([id, many]) => ({
      id: OUTCOMES[id],
      colour: COLOURS[id],
      values: counts[id],
      say: (bucket: number) => count(counts[id][bucket] ?? null),
      whole: count(many),
    }));
  const select = (first: number, last: number) => {
    // One bar is the whole range already: there is nothing to come nearer to.
    if (buckets.length > 1)
      view.set({ from: buckets[first]!, to: new Date(endOf(last)).toISOString(), range: null }, "push");
  };
  return (
    <div class="bars">
      <Chart
        name={`Requests by outcome, ${rangeName(view)}: ${count(all)}`}
        kind="bars"
        height={116}
        count={buckets.length}
        cursor={cursor}
        series={series}
        least={4}
        rangeName={view.chosen ? "this range" : rangeName(view)}
        bucketName={name}
        axis={(bucket) => (step >= DAY_MS ? name(bucket) : name(bucket).slice(step < MINUTE_MS ? 0 : -5))}
        scale={(value) => (Number.isInteger(value) ? count(value) : "")}
        running={isLive && !view.chosen}
        select={select}
      />
    </div>
  );
}
