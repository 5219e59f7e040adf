/** Range, zone and export. */
import { usdExact } from "../../format.ts";
import { RANGES, type View } from "../../state.ts";
import { saveCsv } from "../save-csv.ts";
import { Days } from "./days.tsx";
import type { Change, Usage } from "./usage.ts";

interface Props {
  readonly view: View;
  readonly change: Change;
  readonly usage: Usage | undefined;
}

const ownZone = Intl.DateTimeFormat().resolvedOptions().timeZone;

export function Tools({ view, change, usage }: Props) {
  const zones = [...new Set(["UTC", ownZone, view.zone, ...Intl.supportedValuesOf("timeZone")])];
  return (
    <>
      <fieldset class="choice">
        <legend class="hidden">Range</legend>
        {Object.entries(RANGES).map(([name, { label }]) => (
          <button
            type="button"
            aria-pressed={!view.chosen && view.range === name}
            onClick={() => change({ range: name, from: null, to: null })}
          >
            {name}
            <span class="hidden">: {label}</span>
          </button>
        ))}
      </fieldset>
      <Days view={view} change={change} />
      <input
        class="zone"
        aria-label="Time zone"
        list="zones"
        value={view.zone}
        onChange={({ currentTarget }) => change({ zone: currentTarget.value })}
      />
      <datalist
        id="zones"
        ref={(element) => {
          if (element && !element.children.length)
            element.append(...zones.map((zone) => new Option(zone, zone)));
        }}
      />
      <button
        type="button"
        class="toggle"
        aria-pressed={view.compare}
        onClick={() => change({ compare: view.compare ? "off" : null })}
      >
        Compare<span class="hidden"> with the time before</span>
      </button>
      <button type="button" disabled={!usage} onClick={() => usage && save(usage, view)}>
        Export
      </button>
    </>
  );
}

/** The table's rows, exactly. */
function save(usage: Usage, { group }: View): void {
  const rows = [...usage.groups, ...(usage.other ? [{ id: "other", ...usage.other }] : [])];
  const lines = [
    [group, "usd", "requests", "failed", "input_tokens", "cached_input_tokens", "output_tokens"],
    ...rows.map(({ id, totals }) => [
      id,
      usdExact(totals.cost_nanodollars).replaceAll(/[$,]/g, ""),
      ...[
        totals.requests,
        totals.failed,
        totals.input_tokens,
        totals.cached_input_tokens,
        totals.output_tokens,
      ].map(String),
    ]),
  ];
  saveCsv(`usage-by-${group}-${usage.from.slice(0, 10)}-${usage.to.slice(0, 10)}.csv`, lines);
}
