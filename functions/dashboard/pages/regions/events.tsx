/** What befell regions and backends, newest first. */
import { clock, day, fullTime } from "../../format.ts";
import { Icon } from "../../icon.tsx";
import type { Backend, FleetEvent } from "./fleet.ts";

interface Props {
  readonly events: readonly FleetEvent[];
  readonly backends: readonly Backend[];
  readonly zone: string;
}

export function Events({ events, backends, zone }: Props) {
  if (events.length === 0)
    return <p class="note">Nothing has gone down. What does is listed here for 35 days.</p>;
  const names = new Map(backends.map(({ id, name }) => [id, name]));
  const now = Date.now();
  const today = day(new Date(now).toISOString(), zone);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by the keyboard
    <ul class="events" tabIndex={0} aria-label="Events, newest first">
      {events.map((event) => {
        const { at, region, backend, kind, message } = event;
        const isGood = kind.endsWith(".recovered");
        const date = day(at, zone);
        return (
          <li key={`${at} ${kind} ${backend ?? region}`}>
            <span class={isGood ? "good" : "bad"}>
              <Icon name={isGood ? "check" : "cross"} />
            </span>
            <p>
              <time dateTime={at} title={fullTime(at, zone, now)}>
                {date !== today && `${date} `}
                {clock(at, zone)}
              </time>{" "}
              <b>{backend === null ? region : (names.get(backend) ?? backend)}</b>{" "}
              <span class="quiet">{isGood ? "recovered" : "went down"}</span>
            </p>
            <p class="quiet">{message}</p>
          </li>
        );
      })}
    </ul>
  );
}
