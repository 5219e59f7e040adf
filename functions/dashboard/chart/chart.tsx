/**
 * A chart that reads without a mouse and without colour: labels at the right are legend and read-out, arrows move the
 * cursor, and the numbers stand in a table for who wants them.
 */
import "uplot/dist/uPlot.min.css";
import "../styles/chart.css";
import type { Signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import { coloursChanged } from "../theme.ts";
import type { Plot, Series } from "./plot.ts";
import { spread } from "./spread.ts";

const LABEL_GAP = 20;

interface Props extends Plot {
  /** What it shows, with its sum. */
  readonly name: string;
  /** Charts of one page share their cursor. */
  readonly cursor: Signal<number | null>;
  /** A bucket in words. */
  readonly bucketName: (bucket: number) => string;
  /** What the labels show while nothing is pointed at. */
  readonly rangeName: string;
  readonly height: number;
  /** Buckets that were dragged over, or walked over with Shift and an arrow and confirmed; one that was clicked. */
  readonly select?: (first: number, last: number) => void;
}

export function Chart(props: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const figure = useRef<HTMLElement>(null);
  const [width, setWidth] = useState(0);
  const [asTable, showTable] = useState(false);
  /** Where a selection began. */
  const [anchor, setAnchor] = useState<number | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const [places, setPlaces] = useState<readonly number[]>([]);
  const { cursor, count, series, kind } = props;
  const at = cursor.value !== null && cursor.value < count ? cursor.value : null;
  const facts = JSON.stringify([
    kind,
    count,
    props.running,
    props.before,
    props.marks,
    series.map(({ id, values, colour }) => [id, values, colour]),
    props.axis(0),
  ]);

  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry!.contentRect.width)));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);

  useEffect(() => {
    if (width === 0) return;
    let isGone = false;
    // What draws comes after the figures: they are readable without it.
    import("./plot.ts").then(({ draw }) => {
      if (isGone) return;
      const u = draw(box.current!, props, width, props.height, (ready) =>
        setPlaces(labelPlaces(ready, props)),
      );
      plot.current = u;
      document.fonts.ready.then(() => plot.current === u && u.redraw(false, true));
      const bucketAt = (event: MouseEvent) => {
        const { left, width } = u.over.getBoundingClientRect();
        const bucket = Math.floor(((event.clientX - left) / width) * count);
        return Math.max(0, Math.min(count - 1, bucket));
      };
      u.over.addEventListener("mousemove", (event) => {
        cursor.value = bucketAt(event);
      });
      u.over.addEventListener("mouseleave", () => {
        cursor.value = null;
      });
      u.over.addEventListener("mousedown", (event) => {
        if (event.button !== 0 || !latest.current.select) return;
        event.preventDefault();
        const from = bucketAt(event);
        setAnchor(from);
        const drag = (moved: MouseEvent) => {
          cursor.value = bucketAt(moved);
        };
        const drop = (last: MouseEvent) => {
          removeEventListener("mousemove", drag);
          setAnchor(null);
          const to = bucketAt(last);
          latest.current.select?.(Math.min(from, to), Math.max(from, to));
        };
        addEventListener("mousemove", drag);
        addEventListener("mouseup", drop, { once: true });
      });
    });
    return () => {
      isGone = true;
      plot.current?.destroy();
      plot.current = undefined;
      box.current?.replaceChildren();
    };
    // Built anew in a new theme: thin bars keep the colour they were made with.
  }, [width, facts, coloursChanged.value]);

  useEffect(() => {
    const u = plot.current;
    if (!u) return;
    let line = u.over.querySelector<HTMLElement>(".at");
    if (!line) {
      line = document.createElement("div");
      line.className = "at";
      u.over.append(line);
    }
    line.hidden = at === null;
    if (at !== null) {
      const from = Math.min(at, anchor ?? at);
      line.style.left = `${(from / count) * 100}%`;
      line.style.width = `${((Math.max(at, anchor ?? at) + 1 - from) * 100) / count}%`;
    }
  });

  const move = (event: KeyboardEvent) => {
    const last = count - 1;
    const next = {
      ArrowLeft: Math.max(0, (at ?? last + 1) - 1),
      ArrowRight: Math.min(last, (at ?? -1) + 1),
      Home: 0,
      End: last,
    }[event.key];
    if (event.key === "Escape") {
      event.stopPropagation();
      cursor.value = null;
      figure.current?.blur();
    } else if (event.key === "Enter" && at !== null && props.select) {
      const from = anchor ?? at;
      setAnchor(null);
      props.select(Math.min(from, at), Math.max(from, at));
    } else if (next !== undefined) {
      event.preventDefault();
      setAnchor(event.shiftKey && props.select ? (anchor ?? at ?? next) : null);
      cursor.value = next;
    }
  };

  const place = at === null ? props.rangeName : nameOf(props, at);
  const said = at === null ? "" : `${place}: ${series.map((one) => `${one.id} ${one.say(at)}`).join(", ")}`;
  const labels = props.kind === "bars" ? series.toReversed() : series;
  return (
    <div class="chart">
      <figure
        ref={figure}
        aria-label={`${props.name}. Arrow keys read it bucket by bucket.${props.select ? " Enter opens a bucket, with Shift and arrows several." : ""}`}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: its points are read with the arrow keys
        tabIndex={0}
        onKeyDown={move}
        onBlur={() => {
          setAnchor(null);
          cursor.value = null;
        }}
      >
        <div class={`plot h${props.height}`} ref={box} />
        <div class="labels" aria-hidden="true">
          <p class="when">{place}</p>
          {labels.map((one) => (
            <Label
              one={one}
              line={kind === "lines"}
              text={at === null ? one.whole : one.say(at)}
              top={places[series.indexOf(one)]}
            />
          ))}
        </div>
        <output class="hidden">{said}</output>
      </figure>
      <button type="button" class="as-table" aria-expanded={asTable} onClick={() => showTable(!asTable)}>
        {asTable ? "Hide table" : "As table"}
      </button>
      {asTable && <Numbers {...props} />}
    </div>
  );
}

const nameOf = (props: Props, bucket: number): string =>
  props.bucketName(bucket) + (props.running && bucket === props.count - 1 ? ", so far" : "");

function Label({
  one,
  line,
  text,
  top,
}: {
  one: Series;
  line: boolean;
  text: string;
  top: number | undefined;
}) {
  const place = (element: HTMLElement | null) => {
    if (!element) return;
    element.style.setProperty("--top", `${top ?? 0}px`);
    // Not seen before its place is known: it would jump there.
    element.style.visibility = top === undefined ? "hidden" : "visible";
  };
  const paint = (element: HTMLElement | null) => {
    if (!element) return;
    element.style.color = `var(${one.colour})`;
    element.style.borderTopStyle = one.dash?.length ? "dashed" : "solid";
  };
  return (
    <p class="label" ref={place}>
      <i class={line ? "stroke" : "block"} ref={paint} />
      <span class="what" title={one.id}>
        {one.id}
      </span>
      <b>{text}</b>
    </p>
  );
}

/** Beside the last bucket that has a value. */
function labelPlaces(u: uPlot, { series, kind, count }: Props): number[] {
  const height = u.over.clientHeight;
  const top = u.over.offsetTop;
  let below = 0;
  const last = Array.from({ length: count }, (_, i) => count - 1 - i).find((bucket) =>
    series.some(({ values }) => values[bucket]),
  );
  const wanted = series.map(({ values }) => {
    const value = values[last ?? 0] ?? 0;
    const middle = kind === "bars" ? below + value / 2 : value;
    below += value;
    return top + u.valToPos(middle, "y") - LABEL_GAP / 2;
  });
  return spread(wanted, LABEL_GAP, LABEL_GAP, top + height - LABEL_GAP / 2).map(Math.round);
}

function Numbers(props: Props) {
  const buckets = Array.from({ length: props.count }, (_, i) => i);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by the keyboard
    <section class="numbers" tabIndex={0} aria-label={`Numbers of ${props.name}`}>
      <table>
        <thead>
          <tr>
            <th scope="col">From</th>
            {props.series.map(({ id }) => (
              <th scope="col" class="number">
                {id}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {buckets.map((bucket) => (
            <tr>
              <th scope="row">{nameOf(props, bucket)}</th>
              {props.series.map((one) => (
                <td class="number">{one.say(bucket)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
