/** Six figures, each with its course: requests, tokens, cache hits, first token, speed, errors. */
import type { ComponentChildren } from "preact";
import { Chart } from "../../chart/chart.tsx";
import type { Plot, Series } from "../../chart/plot.ts";
import { change, count, duration, errorShare, share, tokens, UNKNOWN } from "../../format.ts";
import type { View } from "../../state.ts";
import { frame } from "./frame.ts";
import { type Change, requestsLink, type Totals, type Usage } from "./usage.ts";

type Good = "up" | "down" | "none";

interface Props {
  readonly usage: Usage;
  readonly view: View;
  readonly change: Change;
}

export function Tiles({ usage, view, change: go }: Props) {
  const { totals: now, series: over } = usage;
  const before = usage.previous?.totals;
  const numbers = (
    id: string,
    colour: string,
    values: readonly (number | string)[],
    whole: number | string,
  ) =>
    ({
      id,
      colour,
      values: values.map(Number),
      say: (i) => count(values[i] ?? 0),
      whole: tokens(whole),
    }) satisfies Series;
  const of = (
    id: string,
    colour: string,
    values: readonly (number | null)[],
    whole: number | null,
    say: (value: number | null) => string,
    dash?: readonly number[],
  ): Series => ({
    id,
    colour,
    values,
    say: (i) => say(values[i] ?? null),
    whole: say(whole),
    ...(dash && { dash }),
  });
  const all = (t: Totals) => Number(t.input_tokens) + Number(t.cached_input_tokens) + Number(t.output_tokens);
  const parts = (part: readonly (number | string)[]) =>
    part.map((value, i) =>
      Number(over.requests[i]) === 0 ? null : Number(value) / Number(over.requests[i]),
    );
  const ttft = (q: "p50" | "p95" | "p99") => over.ttft_ms.map((value) => value?.[q] ?? null);
  const speed = (q: "p5" | "p50") => over.output_tokens_per_second.map((value) => value?.[q] ?? null);
  const perSecond = (value: number | null) => (value === null ? UNKNOWN : value.toFixed(1));
  const chart = { usage, view, change: go };

  return (
    <div class="cells tiles">
      <Tile
        {...chart}
        title="Requests"
        href={requestsLink(view)}
        value={tokens(now.requests)}
        exact={count(now.requests)}
        moved={moved(now.requests, before?.requests, "none")}
        kind="bars"
        scale={tokens}
        series={[numbers("requests", "--s1", over.requests, now.requests)]}
      />
      <Tile
        {...chart}
        title="Tokens"
        value={tokens(all(now))}
        exact={count(all(now))}
        moved={moved(all(now), before && all(before), "none")}
        kind="bars"
        scale={tokens}
        series={[
          numbers("Cached", "--s4", over.cached_input_tokens, now.cached_input_tokens),
          numbers("Input", "--s1", over.input_tokens, now.input_tokens),
          numbers("Output", "--s3", over.output_tokens, now.output_tokens),
        ]}
      />
      <Tile
        {...chart}
        title="Cache hits"
        note="share of input tokens"
        value={share(now.cache_share)}
        moved={points(now.cache_share, before?.cache_share)}
        kind="lines"
        scale={(value) => share(value, 0)}
        series={[of("cached", "--s4", over.cache_share, now.cache_share, share)]}
      />
      <Tile
        {...chart}
        title="Time to first token"
        note="p95"
        value={duration(now.ttft_ms?.p95 ?? null)}
        moved={moved(now.ttft_ms?.p95, before?.ttft_ms?.p95, "down")}
        kind="lines"
        scale={(value) => (value === 0 ? "0" : duration(value))}
        series={[
          of("p99", "--s2", ttft("p99"), now.ttft_ms?.p99 ?? null, duration, [2, 3]),
          of("p95", "--s1", ttft("p95"), now.ttft_ms?.p95 ?? null, duration),
          of("p50", "--s3", ttft("p50"), now.ttft_ms?.p50 ?? null, duration, [6, 3]),
        ]}
      />
      <Tile
        {...chart}
        title="Output speed"
        note="tokens a second, p50"
        value={perSecond(now.output_tokens_per_second?.p50 ?? null)}
        moved={moved(now.output_tokens_per_second?.p50, before?.output_tokens_per_second?.p50, "up")}
        kind="lines"
        scale={String}
        series={[
          of("p50", "--s1", speed("p50"), now.output_tokens_per_second?.p50 ?? null, perSecond),
          of("p5", "--s3", speed("p5"), now.output_tokens_per_second?.p5 ?? null, perSecond, [6, 3]),
        ]}
      />
      <Tile
        {...chart}
        title="Errors"
        note={`${count(now.failed)} failed; ${count(now.failed_over)} failed over`}
        href={requestsLink(view, { outcome: "failed" })}
        value={errorShare(now.failed, now.requests)}
        moved={points(
          ratio(now.failed, now.requests),
          before && ratio(before.failed, before.requests),
          "down",
          2,
        )}
        kind="lines"
        scale={(value) => share(value, 1)}
        least={0.01}
        series={[
          of(
            "failed over",
            "--s2",
            parts(over.failed_over),
            ratio(now.failed_over, now.requests),
            hundredths,
            [6, 3],
          ),
          of("errors", "--s5", parts(over.failed), ratio(now.failed, now.requests), hundredths),
        ]}
      />
    </div>
  );
}

interface TileProps extends Props, Pick<Plot, "kind" | "series" | "scale" | "least"> {
  readonly title: string;
  readonly note?: string;
  readonly href?: string;
  readonly value: string;
  readonly exact?: string;
  readonly moved: ComponentChildren;
}

function Tile({ usage, view, change: go, title, note, href, value, exact, moved, ...plot }: TileProps) {
  const shared = frame(usage, view, go);
  return (
    <section>
      <h2 class="tile-title">
        {href ? <a href={href}>{title}</a> : title} {note && <span class="note">{note}</span>}
      </h2>
      <p class="tile-value">
        <span title={exact}>{value}</span> {moved}
      </p>
      <Chart {...shared} {...plot} name={`${title} over ${shared.rangeName}: ${value}`} height={140} />
    </section>
  );
}

const ratio = (part: number | string, whole: number | string): number | null =>
  Number(whole) === 0 ? null : Number(part) / Number(whole);
const hundredths = (value: number | null) => share(value, 2);

/** Coloured only where a direction is good. */
function Moved({ text, isUp, good }: { text: string; isUp: boolean | null; good: Good }) {
  const tone = good === "none" || isUp === null ? "quiet" : isUp === (good === "up") ? "good" : "bad";
  return <span class={`moved ${tone}`}>{text}</span>;
}

function moved(now: number | string | undefined, before: number | string | undefined, good: Good) {
  // In thousandths: percentiles have fractions, BigInt has none.
  const whole = (value: number | string | undefined) =>
    value === undefined
      ? null
      : typeof value === "string"
        ? BigInt(value) * 1_000n
        : BigInt(Math.round(value * 1_000));
  const { text, direction } = change(whole(now), whole(before));
  const isUp = direction === "up" ? true : direction === "down" ? false : null;
  return direction === "none" ? null : <Moved text={text} isUp={isUp} good={good} />;
}

function points(now: number | null, before: number | null | undefined, good: Good = "up", digits = 1) {
  if (now === null || before === null || before === undefined) return null;
  const difference = (now - before) * 100;
  const text = Math.abs(difference).toFixed(digits);
  if (Number(text) === 0) return <Moved text={`→ ${text} points`} isUp={null} good={good} />;
  return <Moved text={`${difference > 0 ? "↑" : "↓"} ${text} points`} isUp={difference > 0} good={good} />;
}
