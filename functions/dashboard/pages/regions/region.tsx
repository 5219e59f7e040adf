/** One region: how it stands, what this account's requests met there, and its backends where they may be seen. */
import { count, duration, errorShare, share, UNKNOWN } from "../../format.ts";
import { State, Unknown } from "../../parts.tsx";
import { Backends } from "./backends.tsx";
import type { FleetEvent, Region } from "./fleet.ts";

interface Props {
  readonly region: Region;
  readonly events: readonly FleetEvent[];
  readonly zone: string;
}

export function OneRegion({ region, events, zone }: Props) {
  const {
    id,
    name,
    jurisdiction,
    own,
    simulated,
    simulated_distance_ms: distance,
    models,
    backends,
  } = region;
  return (
    <section class="region" aria-labelledby={`region-${id}`}>
      <header>
        <h2 id={`region-${id}`}>{id}</h2>
        <span class="quiet">
          {name}
          {jurisdiction && `, jurisdiction ${jurisdiction}`}
        </span>
        <State of={region.state} />
        {simulated && <span class="tag played">simulated{distance ? `, +${distance} ms` : ""}</span>}
        <dl>
          <Fact name="Your requests" value={count(own.requests)} />
          <Fact name="First token p95" value={duration(own.ttft_ms?.p95 ?? null)} />
          <Fact name="Cache hits" value={share(own.cache_share, 0)} />
          <Fact name="Failed" value={errorShare(own.failed, own.requests)} />
        </dl>
      </header>
      {backends === null ? (
        <p class="note">
          {models.length === 0 ? "It serves no model at the moment." : `Serves ${models.join(", ")}.`}
        </p>
      ) : backends.length === 0 ? (
        <p class="note">No backend is registered here.</p>
      ) : (
        <Backends backends={backends} events={events} region={id} zone={zone} />
      )}
    </section>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value === UNKNOWN ? <Unknown /> : value}</dd>
    </div>
  );
}
