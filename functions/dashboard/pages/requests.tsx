/** What happened to each request: a live list, and one of them beside it. */
import "../styles/requests.css";
import { useEffect, useRef } from "preact/hooks";
import { useLocation } from "preact-iso/router";
import { clock, count, duration, fullTime } from "../format.ts";
import { type RequestRow, useLive } from "../live.ts";
import { Failed, Head, Loading, Money, Scroll, State } from "../parts.tsx";
import { changedQuery, rangeStart } from "../state.ts";
import { OneRequest } from "./request.tsx";
import { Narrowed, Tools, useView } from "./requests-tools.tsx";

const OUTCOMES = { finished: "Finished", client_left: "Client left", failed: "Failed", refused: "Refused" };

export default function Requests() {
  const view = useView();
  const { query, path } = useLocation();
  const { outcome = "", request } = query;
  const asked = new URLSearchParams({
    from: rangeStart(view.range, view.zone, Date.now()),
    ...view.filters,
    ...(Object.hasOwn(OUTCOMES, outcome) && { outcome }),
  });
  const live = useLive(asked.toString());
  const isNarrowed = outcome !== "" || Object.keys(view.filters).length > 0;
  const open = (id: string | null) => path + changedQuery(query, { request: id });
  const last = useRef<string | undefined>(undefined);
  useEffect(() => {
    // What was open gives the focus back to its row.
    if (!request && last.current) document.getElementById(`row-${last.current}`)?.focus();
    last.current = request;
  }, [request]);
  useKeys(live.rows, request, (id) => view.set({ request: id }));
  return (
    <>
      <Head title="Requests" about={about(view.zone, live.matched)}>
        <Tools view={view} />
        <label>
          Outcome
          <select value={outcome} onChange={(event) => view.set({ outcome: event.currentTarget.value })}>
            <option value="">All</option>
            {Object.entries(OUTCOMES).map(([name, label]) => (
              <option value={name}>{label}</option>
            ))}
          </select>
        </label>
      </Head>
      <Narrowed view={view} />
      {live.error && <Failed error={live.error} />}
      <div class={request ? "split" : "flow"}>
        <section class="panel" aria-labelledby="list">
          <header>
            <h2 id="list">Newest first</h2>
            {live.held > 0 && (
              <button type="button" onClick={live.show}>
                {live.held} new
              </button>
            )}
          </header>
          {!live.rows && !live.error && <Loading what="requests" />}
          {live.rows?.length === 0 && (
            <p class="empty">
              {isNarrowed
                ? "No request in this range matches the filters."
                : "No request was settled in this range yet. New ones appear here by themselves."}
            </p>
          )}
          {live.rows && live.rows.length > 0 && (
            <Rows rows={live.rows} zone={view.zone} open={open} isOpen={request} />
          )}
          {live.hasOlder && (
            <div class="body">
              <button type="button" onClick={live.older}>
                Older
              </button>
            </div>
          )}
        </section>
        {request && <OneRequest key={request} id={request} zone={view.zone} close={open(null)} />}
      </div>
    </>
  );
}

const about = (zone: string, matched: number | null) =>
  [zone, matched !== null && `${count(matched)} match`, "live"].filter(Boolean).join(" · ");

/** j and k walk, Escape closes. Not while something is typed. */
function useKeys(
  rows: readonly RequestRow[] | undefined,
  open: string | undefined,
  go: (id: string | null) => void,
) {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement!.tagName))
        return;
      if (event.key === "Escape" && open) return go(null);
      const step = { j: 1, k: -1 }[event.key];
      if (step === undefined || !rows) return;
      const at = rows.findIndex(({ id }) => id === open);
      const next = rows[open ? at + step : 0]?.id;
      if (next) go(next);
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [rows, open, go]);
}

interface RowsProps {
  readonly rows: readonly RequestRow[];
  readonly zone: string;
  readonly open: (id: string) => string;
  readonly isOpen: string | undefined;
}

function Rows({ rows, zone, open, isOpen }: RowsProps) {
  const now = Date.now();
  return (
    <Scroll label="Requests">
      <table>
        <thead>
          <tr>
            <th scope="col">Time</th>
            <th scope="col">Outcome</th>
            <th scope="col" class="number">
              Cost
            </th>
            <th scope="col" class="number">
              First token
            </th>
            <th scope="col">Region</th>
            {!isOpen && (
              <>
                <th scope="col">Model</th>
                <th scope="col" class="number">
                  Total
                </th>
                <th scope="col" class="number">
                  Input
                </th>
                <th scope="col" class="number">
                  Cached
                </th>
                <th scope="col" class="number">
                  Output
                </th>
              </>
            )}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.sequence} class={row.id !== null && row.id === isOpen ? "open" : ""}>
              <th scope="row">
                {row.id === null ? (
                  clock(row.settled_at, zone)
                ) : (
                  <a id={`row-${row.id}`} href={open(row.id)} title={fullTime(row.settled_at, zone, now)}>
                    {clock(row.settled_at, zone)}
                  </a>
                )}
              </th>
              <td>
                <State of={row.outcome} />
                {row.failed_over && <span class="tag">failed over</span>}
              </td>
              <td class="number">
                <Money nano={row.cost_nanodollars} request />
              </td>
              <td class="number">{duration(row.ttft_ms)}</td>
              <td>{row.region ?? "—"}</td>
              {!isOpen && (
                <>
                  <td>{row.model ?? "—"}</td>
                  <td class="number">{duration(row.duration_ms)}</td>
                  <td class="number">{count(row.input_tokens)}</td>
                  <td class="number">{count(row.cached_input_tokens)}</td>
                  <td class="number">{count(row.output_tokens)}</td>
                </>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
