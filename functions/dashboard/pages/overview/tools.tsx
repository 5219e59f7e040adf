/** Range, zone and export. */
import { csvCell, usdExact } from "../../format.ts";
import { RANGES, type View } from "../../state.ts";
import type { Usage } from "./usage.ts";

interface Props {
  readonly view: View;
  readonly change: (values: Record<string, string | null>) => void;
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
          <button type="button" aria-pressed={view.range === name} onClick={() => change({ range: name })}>
            {name}
            <span class="hidden">: {label}</span>
          </button>
        ))}
      </fieldset>
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
  const text = lines.map((cells) => cells.map(csvCell).join(",")).join("\r\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${text}\r\n`], { type: "text/csv" }));
  link.download = `usage-by-${group}-${usage.from.slice(0, 10)}-${usage.to.slice(0, 10)}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}
