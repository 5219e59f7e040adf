/** Draws a chart with uPlot: stacked bars or lines from zero over buckets of equal width. */
import uPlot from "uplot";
import { colours } from "./colour.ts";
import { stacked } from "./stack.ts";

export interface Series {
  readonly id: string;
  /** A custom property: `--s1`. */
  readonly colour: string;
  /** Only where to draw; what is read comes from `say`. null is a gap. */
  readonly values: readonly (number | null)[];
  /** The value of a bucket in words. */
  readonly say: (bucket: number) => string;
  /** The value of the whole range in words. */
  readonly whole: string;
  readonly dash?: readonly number[];
  readonly width?: number;
}

/** A line needs two neighbours; what has none is a point. */
function alone(u: uPlot, index: number): number[] {
  const values = u.data[index]!;
  return Array.from(values.keys()).filter(
    (i) =>
      typeof values[i] === "number" && typeof values[i - 1] !== "number" && typeof values[i + 1] !== "number",
  );
}

export interface Mark {
  readonly bucket: number;
  readonly label: string;
}

export interface Plot {
  readonly kind: "bars" | "lines";
  readonly series: readonly Series[];
  /** What stands under a bucket. */
  readonly axis: (bucket: number) => string;
  readonly count: number;
  readonly scale: (value: number) => string;
  /** Where the axis ends when all is zero. */
  readonly least?: number;
  /** The last bucket still runs. */
  readonly running?: boolean;
  /** The period before, a tick a bar. */
  readonly before?: readonly (number | null)[];
  readonly marks?: readonly Mark[];
}

const THIN = 8;
const STEPS = [1, 2, 3, 4, 6, 7, 8, 12, 14, 24, 28, 48, 96];

export function draw(
  parent: HTMLElement,
  plot: Plot,
  width: number,
  height: number,
  ready: (u: uPlot) => void,
): uPlot {
  const colour = colours(parent);
  const bars = plot.kind === "bars";
  const bar = ((width - 60) / Math.max(plot.count, 1)) * 0.7;
  const rows = plot.series.map(({ values }) => values);
  // The top of the stack comes first, so that what is below covers it.
  const drawn = bars ? stacked(rows).toReversed() : rows.map((values) => [...values]);
  const about = bars ? plot.series.toReversed() : plot.series;
  const pixel = devicePixelRatio;
  const font = "11px Geist, system-ui, sans-serif";

  const finish = (u: uPlot) => {
    const { ctx, bbox } = u;
    const slot = bbox.width / plot.count;
    ctx.save();
    if (plot.running && bars) {
      ctx.globalAlpha = 0.5;
      ctx.fillStyle = colour("--bg");
      ctx.fillRect(bbox.left + bbox.width - slot, bbox.top, slot, bbox.height - pixel);
      ctx.globalAlpha = 1;
    }
    if (plot.before && bar >= THIN) {
      ctx.fillStyle = colour("--ink");
      for (const [bucket, value] of plot.before.entries())
        if (value && bucket < plot.count)
          ctx.fillRect(
            bbox.left + (bucket + 0.14) * slot,
            u.valToPos(value, "y", true) - pixel,
            slot * 0.72,
            2 * pixel,
          );
    }
    ctx.strokeStyle = colour("--ink-3");
    ctx.fillStyle = colour("--ink-3");
    ctx.lineWidth = pixel;
    ctx.font = `${11 * pixel}px Geist, system-ui, sans-serif`;
    ctx.setLineDash([2 * pixel, 3 * pixel]);
    for (const { bucket, label } of plot.marks ?? []) {
      const x = bbox.left + (bucket + 0.5) * slot;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.textAlign = bucket > plot.count / 2 ? "right" : "left";
      ctx.fillText(label, x, bbox.top - 5 * pixel);
    }
    ctx.restore();
  };

  const lineOrBar = (series: Series): uPlot.Series => ({
    scale: "y",
    points: bars
      ? { show: false }
      : { show: true, size: 5, fill: () => colour(series.colour), filter: alone },
    ...(bars
      ? {
          fill: () => colour(series.colour),
          stroke: () => colour("--bg"),
          width: bar >= THIN ? 1 : 0,
          paths: uPlot.paths.bars!({ size: [0.7, 64] }),
        }
      : {
          stroke: () => colour(series.colour),
          width: series.width ?? 1.5,
          dash: [...(series.dash ?? [])],
          spanGaps: false,
        }),
  });
  const axis = { font, stroke: () => colour("--ink-3"), ticks: { show: false } };
  const options: uPlot.Options = {
    width,
    height,
    padding: [plot.marks?.length ? 20 : 8, 16, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { time: false, range: [-0.5, plot.count - 0.5] },
      y: { range: (_u, _low, high) => [0, high > 0 ? high * 1.08 : (plot.least ?? 1)] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        incrs: STEPS,
        space: 64,
        size: 24,
        gap: 6,
        values: (_u, splits) =>
          splits.map((at) => (Number.isInteger(at) && at >= 0 && at < plot.count ? plot.axis(at) : "")),
      },
      {
        ...axis,
        grid: { stroke: () => colour("--grid"), width: 1 },
        size: 56,
        gap: 6,
        space: 34,
        values: (_u, splits) => splits.map(plot.scale),
      },
    ],
    series: [{}, ...about.map(lineOrBar)],
    hooks: { draw: [finish], ready: [ready] },
  };
  return new uPlot(options, [Array.from({ length: plot.count }, (_, i) => i), ...drawn], parent);
}
