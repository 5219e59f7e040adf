/** What it cost: one figure, then the stack by bucket. */
import { Chart } from "../../chart/chart.tsx";
import type { Mark, Series } from "../../chart/plot.ts";
import { change, usdExact } from "../../format.ts";
import { GROUPS, rangeName, type View } from "../../state.ts";
import type { Names } from "../names.ts";
import { frame } from "./frame.ts";
import { type Change, COLOURS, type Group, nameOf, OTHER, sum, tall, type Usage } from "./usage.ts";

interface Props {
  readonly usage: Usage;
  readonly view: View;
  readonly names: Names;
  readonly change: Change;
}

export function Spend({ usage, view, names, change: go }: Props) {
  const { totals, previous } = usage;
  const label = view.chosen ? "period" : rangeName(view);
  const moved = change(totals.cost_nanodollars, previous?.totals.cost_nanodollars ?? null);
  return (
    <section class="spend" aria-labelledby="spend">
      <h2 id="spend">Spend by {GROUPS[view.group].toLowerCase()}</h2>
      <p class="figure" title={usdExact(totals.cost_nanodollars)}>
        {sum(totals.cost_nanodollars)}
      </p>
      <p class="note">
        {!previous
          ? "not compared with the time before"
          : moved.direction !== "none"
            ? `${moved.text} from ${sum(previous.totals.cost_nanodollars)} in the ${label} before`
            : `nothing in the ${label} before to compare with`}
        {usage.pending_count > 0 && (
          <span class="tag">
            {usage.pending_count === 1
              ? "1 request awaits its"
              : `${usage.pending_count} requests await their`}{" "}
            count
          </span>
        )}
      </p>
      <Chart
        {...frame(usage, view, go)}
        name={`Spend by ${view.group} over ${rangeName(view)}: ${sum(totals.cost_nanodollars)}`}
        kind="bars"
        height={240}
        series={stack(usage, nameOf(view.group, names))}
        scale={dollarScale}
        marks={marks(usage)}
        before={usage.previous?.series.cost_nanodollars.map(tall) ?? []}
      />
    </section>
  );
}

/** Axes count in round dollars: as many digits as the step has. */
const dollarScale = (value: number): string =>
  value === 0
    ? "$0"
    : `$${value >= 1 ? value.toFixed(2) : value.toPrecision(2).replace(/(\.\d*?)0+$/, "$1")}`;

/** The five largest, and the rest as one. */
function stack({ groups, other, buckets }: Usage, name: (id: string) => string): Series[] {
  const spending = groups.filter(({ totals }) => totals.cost_nanodollars !== "0");
  const rest = [...spending.slice(COLOURS.length), ...(other ? [other] : [])];
  const named = spending
    .slice(0, COLOURS.length)
    .map((group, i) => layer(name(group.id), COLOURS[i]!, group));
  if (rest.length === 0) return named;
  const cost = buckets.map((_, i) => String(added(rest, ({ series }) => series.cost_nanodollars[i] ?? "0")));
  return [
    ...named,
    {
      id: "other",
      colour: OTHER,
      values: cost.map(tall),
      say: (i) => sum(cost[i] ?? "0"),
      whole: sum(String(added(rest, ({ totals }) => totals.cost_nanodollars))),
    },
  ];
}

const added = (groups: readonly Group[], of: (group: Group) => string): bigint =>
  groups.reduce((all, group) => all + BigInt(of(group)), 0n);

const layer = (id: string, colour: string, { series, totals }: Group): Series => ({
  id,
  colour,
  values: series.cost_nanodollars.map(tall),
  say: (i) => sum(series.cost_nanodollars[i] ?? "0"),
  whole: sum(totals.cost_nanodollars),
});

/** Changes that fell into one bucket share a mark. */
function marks({ marks, buckets }: Usage): Mark[] {
  const found = new Map<number, string[]>();
  for (const { at, label } of marks) {
    const bucket = buckets.findLastIndex((start) => start <= at);
    if (bucket >= 0) found.set(bucket, [...(found.get(bucket) ?? []), label]);
  }
  return [...found].map(([bucket, labels]) => ({
    bucket,
    label: labels.length === 1 ? labels[0]! : `${labels.length} prices changed`,
  }));
}
