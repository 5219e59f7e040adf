/** A day as a strip: where a backend was down, and where nobody knows. What it shows is said below it. */
import { duration } from "../../format.ts";
import type { FleetEvent } from "./fleet.ts";
import { type Outages, outagesOf } from "./outages.ts";

const DAY_MS = 86_400_000;
/** What is shorter would not be seen. */
const LEAST_PERCENT = 1.5;

interface Props {
  readonly events: readonly FleetEvent[];
  readonly backend: string;
  readonly isDown: boolean;
}

export function Strip({ events, backend, isDown }: Props) {
  const now = Date.now();
  const outages = outagesOf(events, backend, { from: now - DAY_MS, to: now }, isDown);
  const paint = (element: HTMLElement | null) => {
    if (element) element.style.background = gradient(outages, now);
  };
  const sum = outages.down.reduce((all, { from, to }) => all + to - from, 0);
  return (
    <>
      <span class="strip" aria-hidden="true" ref={paint} />
      <small class={sum > 0 ? "bad" : ""}>
        {sum === 0 ? (isDown ? "not told yet" : "no outage") : `down ${about(sum)}`}
      </small>
    </>
  );
}

function gradient({ down, knownFrom }: Outages, now: number): string {
  const percent = (ms: number) => ((ms - (now - DAY_MS)) / DAY_MS) * 100;
  const stops: string[] = [];
  const add = (colour: string, from: number, to: number) =>
    stops.push(`var(${colour}) ${from.toFixed(2)}% ${to.toFixed(2)}%`);
  let reached = percent(knownFrom);
  if (reached > 0) add("--line", 0, reached);
  for (const { from, to } of down) {
    const end = Math.max(percent(to), percent(from) + LEAST_PERCENT);
    const start = Math.max(reached, Math.min(percent(from), 100 - LEAST_PERCENT));
    add("--good", reached, start);
    add("--bad", start, end);
    reached = end;
  }
  add("--good", reached, 100);
  return `linear-gradient(90deg, ${stops.join(", ")})`;
}

function about(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  if (minutes < 1) return duration(ms);
  return minutes < 60
    ? `${minutes} min`
    : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}
