/** Which regions served this account's requests of the last hour. */
import { count, duration, share } from "../../format.ts";
import type { Region } from "./fleet.ts";
import { Meter } from "./meter.tsx";

const COLOURS = ["--s1", "--s3", "--s4", "--s2", "--s5"];

export function Flow({ regions, zone }: { regions: readonly Region[]; zone: string }) {
  const all = regions.reduce((sum, { own }) => sum + own.requests, 0);
  return (
    <>
      <ul class="flow-rows">
        {regions.map(({ id, own, distance_ms, simulated_distance_ms: played }, i) => (
          <li key={id}>
            <p>
              <a
                href={`/dashboard/requests?range=6h&zone=${encodeURIComponent(zone)}&region=${encodeURIComponent(id)}`}
              >
                {id}
              </a>
              <br />
              <span class="note">{away(distance_ms ?? played)}</span>
            </p>
            <Meter share={all === 0 ? 0 : own.requests / all} colour={COLOURS[i % COLOURS.length]!} />
            <p class="number">
              <b>{count(own.requests)}</b>
              <br />
              <span class="note">{all === 0 ? "none" : share(own.requests / all)}</span>
            </p>
          </li>
        ))}
      </ul>
      {all === 0 && <p class="note">None of your requests ended in the last hour.</p>}
    </>
  );
}

const away = (ms: number | null): string => (ms === null ? "distance unknown" : `${duration(ms)} away`);
