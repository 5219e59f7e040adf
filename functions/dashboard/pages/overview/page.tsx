/** What it cost, whether the money will last, and whether anything is wrong. */
import "../../styles/overview.css";
import { clock, moment, usdHeld } from "../../format.ts";
import { Copy, Failed, Head, Loading } from "../../parts.tsx";
import { FILTERS, type View } from "../../state.ts";
import { type Names, useNames } from "../names.ts";
import { Incident, useIll } from "./incident.tsx";
import { Standing } from "./money.tsx";
import { Spend } from "./spend.tsx";
import { Tiles } from "./tiles.tsx";
import { Tools } from "./tools.tsx";
import { type Change, type Usage, useUsage, useView } from "./usage.ts";
import { Where } from "./where.tsx";

export default function Overview() {
  const { view, change } = useView();
  const names = useNames();
  const ill = useIll();
  const { data, error, refetch, isPlaceholderData } = useUsage(view);
  return (
    <>
      <Head title="Overview" about={data ? about(data) : view.zone}>
        <Tools view={view} change={change} usage={data} />
      </Head>
      {ill === undefined ? (
        <Loading what="usage" />
      ) : (
        <>
          <Incident ill={ill} />
          {data &&
            data.as_of.pending_events > 0 &&
            Date.now() - Date.parse(data.as_of.settled_through) > 10_000 && (
              <p class="notice warn" role="status">
                {data.as_of.pending_events} journal entries are not counted yet.
              </p>
            )}
          <Filters {...{ view, change, names }} />
          {error && <Failed error={error} again={refetch} />}
          <div class="panel top">
            <div class="main">
              {data ? (
                <Shown usage={data} old={isPlaceholderData} {...{ view, change, names }} />
              ) : (
                <Loading what="usage" />
              )}
            </div>
            <Standing zone={view.zone} />
          </div>
          {data && (
            <div class={isPlaceholderData ? "old lower" : "lower"} aria-busy={isPlaceholderData}>
              <Tiles usage={data} view={view} change={change} />
              <Where usage={data} view={view} names={names} choose={(group) => change({ group })} />
            </div>
          )}
        </>
      )}
    </>
  );
}

interface Props {
  readonly view: View;
  readonly change: Change;
  readonly names: Names;
}

function Shown({ usage, old, ...props }: Props & { usage: Usage; old: boolean }) {
  const { view } = props;
  if (usage.totals.requests === 0 && usage.open.requests === 0 && !Object.keys(view.filters).length)
    return <Empty hasBefore={!!usage.previous && usage.previous.totals.requests !== 0} />;
  return (
    <div class={old ? "old" : ""}>
      <Spend usage={usage} {...props} />
    </div>
  );
}

function about({ from, to, time_zone: zone, as_of: at, open }: Usage): string {
  const held =
    open.requests > 0
      ? `, ${open.requests} open reservations of ${usdHeld(open.held_nanodollars)} not included`
      : "";
  return `${moment(from, zone)} to ${moment(to, zone)}, ${zone} · settled up to ${clock(at.settled_through, zone)}${held}`;
}

function Filters({ view, change, names }: Props) {
  const set = FILTERS.filter((name) => view.filters[name]);
  if (set.length === 0) return null;
  return (
    <div class="row">
      {set.map((name) => (
        <button type="button" onClick={() => change({ [name]: null })}>
          {name}:{" "}
          {name === "key" || name === "backend" ? names[name](view.filters[name]!) : view.filters[name]} ✕
          <span class="hidden"> take this filter away</span>
        </button>
      ))}
    </div>
  );
}

function Empty({ hasBefore }: { hasBefore: boolean }) {
  const curl = `curl ${location.origin}/v1/models -H "Authorization: Bearer $CAUSEWAY_KEY"`;
  return (
    <div class="empty">
      <h2>No requests in this range</h2>
      <p>
        {hasBefore
          ? "There were some before it: a longer range shows them."
          : "The first one shows here seconds after it ends."}
      </p>
      <pre>{curl}</pre>
      <Copy text={curl} />
    </div>
  );
}
