/** Where requests run and what is ill: state and own flow for everybody, backends for who may see the fleet. */
import "../styles/regions.css";
import { useState } from "preact/hooks";
import { clock, count } from "../format.ts";
import { Failed, Head } from "../parts.tsx";
import { useApi } from "../query.ts";
import { useView } from "./overview/usage.ts";
import { Events } from "./regions/events.tsx";
import { type Fleet, plural } from "./regions/fleet.ts";
import { Flow } from "./regions/flow.tsx";
import { Incident } from "./regions/incident.tsx";
import { OneRegion } from "./regions/region.tsx";

const EVERY_MS = 3_000;

export default function Regions() {
  const { zone } = useView().view;
  const [isLive, setLive] = useState(true);
  const { data, error, refetch, dataUpdatedAt } = useApi<Fleet>("/v1/regions", isLive ? EVERY_MS : undefined);
  const seen = clock(new Date(dataUpdatedAt).toISOString(), zone);
  return (
    <>
      <Head title="Regions" about={data ? about(data, `${seen} ${zone}`) : zone}>
        <button type="button" class="live" aria-pressed={isLive} onClick={() => setLive(!isLive)}>
          <i aria-hidden="true" />
          {isLive ? "Live" : "Paused"}
        </button>
      </Head>
      {error && <Failed error={error} again={refetch} />}
      {error && data && <p class="note">What is shown is from {seen}.</p>}
      {data ? <Shown fleet={data} zone={zone} /> : !error && <Boxes />}
    </>
  );
}

function Shown({ fleet, zone }: { fleet: Fleet; zone: string }) {
  if (fleet.data.length === 0)
    return <p class="panel empty">No region is registered: an operator adds them with the admin API.</p>;
  return (
    <>
      <Incident fleet={fleet} zone={zone} />
      <div class="panel flow-and-events">
        <section aria-labelledby="flow">
          <h2 id="flow">
            Where your requests run <small>last hour</small>
          </h2>
          <Flow regions={fleet.data} zone={zone} />
        </section>
        <section aria-labelledby="events">
          <h2 id="events">Events</h2>
          <Events
            events={fleet.events}
            backends={fleet.data.flatMap(({ backends }) => backends ?? [])}
            zone={zone}
          />
        </section>
      </div>
      {fleet.data.map((region) => (
        <OneRegion key={region.id} region={region} events={fleet.events} zone={zone} />
      ))}
    </>
  );
}

/** What stands there while it loads is as high as what comes. */
function Boxes() {
  return (
    <div class="boxes" aria-busy="true">
      <p class="hidden">Loading the regions …</p>
      <div class="panel" />
      <div class="panel" />
      <div class="panel" />
    </div>
  );
}

function about({ data }: Fleet, seen: string): string {
  const backends = data.flatMap(({ backends }) => backends ?? []).length;
  const own = data.reduce((sum, region) => sum + region.own.requests, 0);
  const regions = plural(data.length, "region");
  return [
    backends > 0 ? `${plural(backends, "backend")} in ${regions}` : regions,
    `seen at ${seen}`,
    `${count(own)} of your requests in the last hour`,
  ].join(" · ");
}
