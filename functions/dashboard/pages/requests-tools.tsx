/** Range, zone and filters: read from the address and written there. */
import { useLocation } from "preact-iso/router";
import { changedQuery, FILTERS, isZone, RANGES, readView, type View } from "../state.ts";

const ownZone = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Offered; any other name may be typed. */
const USUAL = [
  "America/Los_Angeles",
  "America/New_York",
  "America/Sao_Paulo",
  "Europe/London",
  "Europe/Berlin",
  "Asia/Kolkata",
  "Asia/Shanghai",
  "Asia/Tokyo",
  "Australia/Sydney",
];

export function useView(): View & { set: (change: Readonly<Record<string, string | null>>) => void } {
  const { path, query, route } = useLocation();
  return {
    ...readView(query, ownZone),
    set: (change) => route(path + changedQuery(query, change), true),
  };
}

export function Tools({ view }: { view: ReturnType<typeof useView> }) {
  const zones = [...new Set([view.zone, ownZone, "UTC", ...USUAL])];
  return (
    <>
      <label>
        Range
        <select value={view.range} onChange={(event) => view.set({ range: event.currentTarget.value })}>
          {Object.entries(RANGES).map(([name, { label }]) => (
            <option value={name}>{label}</option>
          ))}
        </select>
      </label>
      <Zones zones={zones} view={view} />
    </>
  );
}

function Zones({ zones, view }: { zones: readonly string[]; view: ReturnType<typeof useView> }) {
  return (
    <label>
      Zone
      <input
        class="zone"
        list="zones"
        value={view.zone}
        spellcheck={false}
        onChange={(event) =>
          isZone(event.currentTarget.value) && view.set({ zone: event.currentTarget.value })
        }
      />
      <datalist id="zones">
        {zones.map((zone) => (
          <option value={zone} />
        ))}
      </datalist>
    </label>
  );
}

/** Which filters narrow the page, each to be taken away. */
export function Narrowed({ view }: { view: ReturnType<typeof useView> }) {
  const set = FILTERS.filter((name) => view.filters[name] !== undefined);
  if (set.length === 0) return null;
  return (
    <p class="row">
      {set.map((name) => (
        <button type="button" onClick={() => view.set({ [name]: null })}>
          {name}: {view.filters[name]} <span aria-hidden="true">×</span>
          <span class="hidden"> (clear)</span>
        </button>
      ))}
    </p>
  );
}
