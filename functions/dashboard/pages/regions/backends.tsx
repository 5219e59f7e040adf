/** A region's backends, a row each; on a phone each is a block of labelled values, so the roles are written out. */
import type { ComponentChildren } from "preact";
import { clock, count, duration, fullTime, share, UNKNOWN } from "../../format.ts";
import { State, Unknown } from "../../parts.tsx";
import { CELL, HEAD, NAME, ROW, ROWS, TABLE } from "../roles.ts";
import { type Backend, chipName, type FleetEvent } from "./fleet.ts";
import { Meter } from "./meter.tsx";
import { Strip } from "./strip.tsx";

/** From here on a cache is nearly full, and requests begin to wait. */
const NEARLY_FULL = 0.9;
const COLUMNS = ["Running", "Waiting", "KV cache", "Prefix hits", "TTFT", "Errors"];

interface Props {
  readonly backends: readonly Backend[];
  readonly events: readonly FleetEvent[];
  readonly region: string;
  readonly zone: string;
}

export function Backends({ backends, events, region, zone }: Props) {
  const noted = backends.filter(({ reason }) => reason !== null);
  return (
    <>
      <table class="backends" {...TABLE} aria-label={`Backends of ${region}`}>
        <thead {...ROWS}>
          <tr {...ROW}>
            <th {...HEAD}>Backend</th>
            <th {...HEAD}>State</th>
            <th {...HEAD}>Last 24 h</th>
            {COLUMNS.map((name) => (
              <th {...HEAD} class="number">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody {...ROWS}>
          {backends.map((backend) => (
            <Row key={backend.id} of={backend} events={events} zone={zone} />
          ))}
        </tbody>
      </table>
      {noted.length > 0 && (
        <ul class="reasons">
          {noted.map(({ id, name, reason, since }) => (
            <li key={id}>
              <b>{name}</b> {since && <>Since {clock(since, zone)}: </>}
              {reason}
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

function Row({ of, events, zone }: Pick<Props, "events" | "zone"> & { of: Backend }) {
  const { running, waiting, cache_use: cache, max_concurrent: limit } = of;
  const isFull = limit !== null && running !== null && running >= limit;
  return (
    <tr {...ROW}>
      <th {...NAME}>
        <span class="name">{of.name}</span>
        <small>
          {chipName(of.chip)}, {of.kind}, {of.model}
        </small>
        {of.plays && <span class="tag played">plays {chipName(of.plays)}, simulated</span>}
      </th>
      <td {...CELL} class="standing-cell">
        <State of={of.state} />
        {of.since && (
          <small title={fullTime(of.since, zone, Date.now())}>since {clock(of.since, zone)}</small>
        )}
      </td>
      <td {...CELL} class="day-cell" data-label="Last 24 h">
        <Strip events={events} backend={of.id} isDown={of.state === "resting"} />
      </td>
      <Cell name="Running">
        <span class={isFull ? "warn" : ""}>{known(count(running))}</span>
        {limit !== null && <span class="quiet"> of {count(limit)}</span>}
        {limit !== null && <Meter share={(running ?? 0) / limit} colour={isFull ? "--warn" : "--s1"} />}
      </Cell>
      <Cell name="Waiting">
        <span class={(waiting ?? 0) > 0 ? "warn" : ""}>{known(count(waiting))}</span>
      </Cell>
      <Cell name="KV cache">
        <span class={(cache ?? 0) > NEARLY_FULL ? "bad" : ""}>{known(share(cache, 0))}</span>
        <Meter share={cache} colour={(cache ?? 0) > NEARLY_FULL ? "--bad" : "--s1"} />
      </Cell>
      <Cell name="Prefix hits">{known(share(of.prefix_hit_share, 0))}</Cell>
      <Cell name="TTFT">{known(duration(of.ttft_ms))}</Cell>
      <Cell name="Errors">
        <span class={(of.error_share ?? 0) > 0 ? "bad" : ""}>{known(share(of.error_share, 2))}</span>
      </Cell>
    </tr>
  );
}

const known = (text: string) => (text === UNKNOWN ? <Unknown /> : text);

function Cell({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <td {...CELL} class="number" data-label={name}>
      {children}
    </td>
  );
}
