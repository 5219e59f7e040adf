/** What is ill now, since when, and what it did to this account's requests. */
import { clock, count } from "../../format.ts";
import { Icon } from "../../icon.tsx";
import { useApi } from "../../query.ts";
import { type Fleet, illSince, isIll, plural } from "./fleet.ts";

interface Counts {
  readonly totals: { readonly failed: number | string; readonly failed_over: number | string };
}

const QUARTER_MS = 900_000;
const HOUR_MS = 3_600_000;

export function Incident({ fleet, zone }: { fleet: Fleet; zone: string }) {
  const ill = fleet.data.filter(isIll);
  const since = illSince(fleet.data, fleet.events);
  const from = Math.max(since ? Date.parse(since) : 0, Date.now() - 24 * HOUR_MS);
  const asked = new URLSearchParams({
    from: new Date(Math.floor(from / QUARTER_MS) * QUARTER_MS).toISOString(),
    bucket: "day",
  });
  const { data } = useApi<Counts>(ill.length > 0 && since ? `/v1/usage?${asked}` : null, 10_000);
  if (ill.length === 0) return null;
  const isDown = ill.some(({ state }) => state === "down");
  const [only] = ill;
  const narrowed = ill.length === 1 ? `&region=${encodeURIComponent(only!.id)}` : "";
  return (
    <div class={`notice incident ${isDown ? "bad" : "warn"}`} role="status">
      <Icon name="warn" />
      <p>
        {ill.map(({ id, state, backends }) => {
          const silent = (backends ?? []).filter((one) => one.state !== "up");
          return (
            <span key={id}>
              <b>
                {id} is {state}
              </b>
              {silent.length > 0 &&
                `: ${plural(silent.length, "backend")} of ${backends!.length} ${silent.length === 1 ? "takes" : "take"} no requests`}
              {". "}
            </span>
          );
        })}
        {since && (data ? did(data, since, zone) : `Since ${clock(since, zone)} … `)}
      </p>
      <a href={`/dashboard/requests?range=6h${narrowed}`}>See requests</a>
    </div>
  );
}

/** Its counts are of whole quarter hours, so some may be from before. */
function did({ totals }: Counts, since: string, zone: string): string {
  const over = Number(totals.failed_over);
  const failed = Number(totals.failed);
  const from = `Since ${clock(since, zone)} ${zone}`;
  if (over === 0 && failed === 0) return `${from}, none of your requests failed or had to move.`;
  const lost = failed === 0 ? "none was lost" : `${count(failed)} failed`;
  return `${from}, ${count(over)} of your requests failed over and ${lost}.`;
}
