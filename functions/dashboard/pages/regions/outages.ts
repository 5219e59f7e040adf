/** When a backend was down lately, by the events that told of it. */
import type { FleetEvent } from "./fleet.ts";

export interface Outage {
  /** ms; cut to the window. */
  readonly from: number;
  readonly to: number;
}

export interface Outages {
  readonly down: readonly Outage[];
  /** Before this nothing is known, ms: the list of events ends there. */
  readonly knownFrom: number;
}

/** As many as one answer lists. */
const MOST_EVENTS = 100;

/** @param events newest first, of all backends. @param isDown whether it is now, whatever was told. */
export function outagesOf(
  events: readonly FleetEvent[],
  backend: string,
  window: Outage,
  isDown: boolean,
): Outages {
  const oldest = events.length < MOST_EVENTS ? window.from : Date.parse(events.at(-1)!.at);
  const knownFrom = Math.max(window.from, oldest);
  const down: Outage[] = [];
  let end: number | undefined = isDown ? window.to : undefined;
  for (const { at, kind } of events.filter((event) => event.backend === backend)) {
    const ms = Date.parse(at);
    if (ms <= knownFrom) break;
    if (kind.endsWith(".recovered")) end = ms;
    else if (kind.endsWith(".down") && end !== undefined) {
      down.unshift({ from: ms, to: end });
      end = undefined;
    }
  }
  // It was down already when the window, or what is known of it, began. One that is down and of which nothing was
  // told is not down for a whole day.
  const wasTold = events.some((event) => event.backend === backend);
  if (end !== undefined && wasTold) down.unshift({ from: knownFrom, to: end });
  return { down, knownFrom };
}
