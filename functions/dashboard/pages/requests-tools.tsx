/** Range, zone and filters of the list: read from the address and written there. */
import { useLocation } from "preact-iso/router";
import { Icon } from "../icon.tsx";
import {
  changedQuery,
  FILTERS,
  isZone,
  RANGES,
  rangeName,
  rangeStart,
  readView,
  type View,
} from "../state.ts";
import type { Names } from "./names.ts";

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
export const OUTCOMES = {
  finished: "Finished",
  client_left: "Client left",
  failed: "Failed",
  refused: "Refused",
} as const;
const SLOW = { 500: "over 0.5 s", 1000: "over 1 s", 5000: "over 5 s" } as const;
const PARAMETERS = ["outcome", ...FILTERS, "min_ttft_ms"] as const;

export interface ListView extends View {
  /** Filters as the API takes them. */
  readonly narrowed: Readonly<Partial<Record<(typeof PARAMETERS)[number], string>>>;
  readonly request: string | undefined;
  readonly set: (change: Readonly<Record<string, string | null>>, way?: "push") => void;
  readonly link: (change: Readonly<Record<string, string | null>>) => string;
}

export function useView(): ListView {
  const { path, query, route } = useLocation();
  const narrowed = Object.fromEntries(
    PARAMETERS.flatMap((name) => {
      const value = query[name];
      if (!value || (name === "outcome" && !Object.hasOwn(OUTCOMES, value))) return [];
      return name === "min_ttft_ms" && !/^\d{1,8}$/.test(value) ? [] : [[name, value]];
    }),
  );
  return {
    ...readView(query, ownZone),
    narrowed,
    request: query.request,
    set: (change, way) => route(path + changedQuery(query, change), way !== "push"),
    link: (change) => path + changedQuery(query, change),
  };
}

/** What the list and its bars are asked for. */
export function listQuery({ range, chosen, zone, narrowed }: ListView): string {
  const from = chosen?.from ?? rangeStart(range, zone, Date.now());
  return new URLSearchParams({ from, ...(chosen && { to: chosen.to }), ...narrowed }).toString();
}

export function Tools({ view }: { view: ListView }) {
  const zones = [...new Set([view.zone, ownZone, "UTC", ...USUAL])];
  return (
    <>
      <label>
        Range
        <select
          value={view.chosen ? "chosen" : view.range}
          onChange={(event) => view.set({ range: event.currentTarget.value, from: null, to: null })}
        >
          {view.chosen && <option value="chosen">{rangeName(view)}</option>}
          {Object.entries(RANGES).map(([name, { label }]) => (
            <option value={name}>{label}</option>
          ))}
        </select>
      </label>
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
    </>
  );
}

export function Filters({ view, names, few }: { view: ListView; names: Names; few: boolean }) {
  const regions = names.fleet?.data ?? [];
  const models = [...new Set(regions.flatMap(({ models }) => models))];
  const same = (ids: readonly string[]) => ids.map((id) => [id, id] as const);
  const find = (event: SubmitEvent) => {
    event.preventDefault();
    const id = String(new FormData(event.currentTarget as HTMLFormElement).get("id")).trim();
    if (id !== "") view.set({ request: id }, "push");
  };
  return (
    <search class="filters">
      <form onSubmit={find} class="find">
        <Icon name="search" />
        <input
          name="id"
          aria-label="Request id"
          placeholder="Request id"
          spellcheck={false}
          autocomplete="off"
        />
      </form>
      <One view={view} name="outcome" label="Outcome" options={Object.entries(OUTCOMES)} />
      {!few && <One view={view} name="model" label="Model" options={same(models)} />}
      {!few && <One view={view} name="region" label="Region" options={same(regions.map(({ id }) => id))} />}
      {!few && (names.keys.length > 0 || view.narrowed.key) && (
        <One view={view} name="key" label="Key" options={names.keys.map(({ id, name }) => [id, name])} />
      )}
      {view.narrowed.backend && (
        <One
          view={view}
          name="backend"
          label="Backend"
          options={[[view.narrowed.backend, names.backend(view.narrowed.backend)!]]}
        />
      )}
      {!few && <One view={view} name="min_ttft_ms" label="First token" options={Object.entries(SLOW)} />}
      {Object.keys(view.narrowed).length > 0 && (
        <button type="button" onClick={() => view.set(CLEARED)}>
          Clear
        </button>
      )}
    </search>
  );
}

export const CLEARED = Object.fromEntries(PARAMETERS.map((name) => [name, null]));

interface OneProps {
  readonly view: ListView;
  readonly name: (typeof PARAMETERS)[number];
  readonly label: string;
  readonly options: readonly (readonly [string, string])[];
}

function One({ view, name, label, options }: OneProps) {
  const value = view.narrowed[name] ?? "";
  // What the address names is shown, also where nothing here knows it.
  const isKnown = value === "" || options.some(([id]) => id === value);
  return (
    <label class={value === "" ? "filter" : "filter on"}>
      <span>{label}</span>
      <select value={value} onChange={(event) => view.set({ [name]: event.currentTarget.value })}>
        <option value="">any</option>
        {(isKnown ? options : [...options, [value, value] as const]).map(([id, text]) => (
          <option value={id}>{text}</option>
        ))}
      </select>
    </label>
  );
}
