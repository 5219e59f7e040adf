/** What it cost, whether the money will last, and whether anything is wrong. */
import "../../styles/overview.css";
import { clock, moment, usdHeld } from "../../format.ts";
import { Copy, Failed, Head, Loading } from "../../parts.tsx";
import { FILTERS, type View } from "../../state.ts";
import { Incident } from "./incident.tsx";
import { Standing } from "./money.tsx";
import { Spend } from "./spend.tsx";
import { Tiles } from "./tiles.tsx";
import { Tools } from "./tools.tsx";
import { type Usage, useUsage, useView } from "./usage.ts";
import { Where } from "./where.tsx";

export default function Overview() {
  const { view, change } = useView();
  const { data, error, refetch, isPlaceholderData } = useUsage(view);
  return (
    <>
      <Head title="Overview" about={data ? about(data) : view.zone}>
        <Tools view={view} change={change} usage={data} />
      </Head>
      <Incident />
      {data &&
        data.as_of.pending_events > 0 &&
        Date.now() - Date.parse(data.as_of.settled_through) > 10_000 && (
          <p class="notice warn" role="status">
            {data.as_of.pending_events} journal entries are not counted yet.
          </p>
        )}
      <Filters view={view} change={change} />
      {error && <Failed error={error} again={refetch} />}
      <div class="panel top">
        <div class="main">
          {data ? <Shown usage={data} view={view} old={isPlaceholderData} /> : <Loading what="usage" />}
        </div>
        <Standing zone={view.zone} />
      </div>
      {data && (
        <div class={isPlaceholderData ? "old lower" : "lower"} aria-busy={isPlaceholderData}>
          <Tiles usage={data} view={view} />
          <Where usage={data} view={view} choose={(group) => change({ group })} />
        </div>
      )}
    </>
  );
}

function Shown({ usage, view, old }: { usage: Usage; view: View; old: boolean }) {
  if (usage.totals.requests === 0 && usage.open.requests === 0 && !Object.keys(view.filters).length)
    return <Empty hasBefore={!!usage.previous && usage.previous.totals.requests !== 0} />;
  return (
    <div class={old ? "old" : ""}>
      <Spend usage={usage} view={view} />
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

function Filters({ view, change }: { view: View; change: (values: Record<string, string | null>) => void }) {
  const set = FILTERS.filter((name) => view.filters[name]);
  if (set.length === 0) return null;
  return (
    <div class="row">
      {set.map((name) => (
        <button type="button" onClick={() => change({ [name]: null })}>
          {name}: {view.filters[name]} ✕<span class="hidden"> take this filter away</span>
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
