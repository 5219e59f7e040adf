/** What happened to each request: a live list, and one of them beside it. */
import "../styles/requests.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { count, usdExact } from "../format.ts";
import { type Live, type RequestRow, useLive } from "../live.ts";
import { Failed, Head } from "../parts.tsx";
import { rangeName } from "../state.ts";
import { type Names, useNames } from "./names.ts";
import type { OneRequest } from "./request.tsx";
import { Bars } from "./requests/bars.tsx";
import { isSame, Rows } from "./requests/rows.tsx";
import { useMedia } from "./requests/window.ts";
import { CLEARED, Filters, type ListView, listQuery, Tools, useView } from "./requests-tools.tsx";
import { saveCsv } from "./save-csv.ts";

/** What shows one request is loaded when the first one is opened. */
function usePane(isOpen: boolean): typeof OneRequest | undefined {
  const [pane, set] = useState<{ readonly show: typeof OneRequest }>();
  useEffect(() => {
    if (isOpen && !pane) import("./request.tsx").then(({ OneRequest: show }) => set({ show }));
  }, [isOpen]);
  return pane?.show;
}

export default function Requests() {
  const view = useView();
  const names = useNames();
  const [isLive, setLive] = useState(true);
  // A range that has ended has nothing new.
  const isEnded = view.chosen !== null && Date.parse(view.chosen.to) < Date.now() - 60_000;
  const live = useLive(listQuery(view), isLive && !isEnded);
  const isNarrow = useMedia("(max-width: 1100px)");
  const reveal = useRef<((index: number) => void) | null>(null);
  const { request } = view;
  useFocusBack(request, live.rows, reveal);
  useKeys(live.rows, request, (id) => view.set({ request: id }), reveal);
  const isPage = request !== undefined && isNarrow;
  const Pane = usePane(request !== undefined);
  return (
    <div class={`split ${request === undefined ? "" : "open"}`}>
      {/* Under the open request it stays, for its place and its rows. */}
      <div class="list" hidden={isPage}>
        {!isPage && (
          <Head title="Requests" about={about(view, live.matched)}>
            {!request && <Tools view={view} />}
            <button
              type="button"
              class="live"
              aria-pressed={isLive && !isEnded}
              disabled={isEnded}
              onClick={() => setLive(!isLive)}
            >
              <i aria-hidden="true" />
              {isEnded ? "Ended" : isLive ? "Live" : "Paused"}
            </button>
            <button
              type="button"
              disabled={!live.rows?.length}
              onClick={() => live.rows && save(live.rows, names)}
            >
              Export
            </button>
          </Head>
        )}
        <Filters view={view} names={names} few={request !== undefined} />
        {live.error && <Failed error={live.error} />}
        {live.error && <p class="note">It is asked again every two seconds.</p>}
        <Bars view={view} isLive={isLive && !isEnded} />
        <List {...{ view, live, names, reveal }} />
      </div>
      {request !== undefined && Pane && (
        <Pane
          key={request}
          id={request}
          zone={view.zone}
          names={names}
          close={view.link({ request: null })}
          isPage={isPage}
        />
      )}
      {request !== undefined && !Pane && <div class="pane" aria-busy="true" />}
    </div>
  );
}

interface ListProps {
  readonly view: ListView;
  readonly live: Live;
  readonly names: Names;
  readonly reveal: { current: ((index: number) => void) | null };
}

function List({ view, live, names, reveal }: ListProps) {
  const { rows } = live;
  if (!rows) return live.error ? null : <div class="rows-to-come" aria-busy="true" />;
  if (rows.length === 0 && live.hasOlder)
    return (
      <p class="empty">
        Nothing among the newest fits.{" "}
        <button type="button" onClick={live.older}>
          Look further back
        </button>
      </p>
    );
  if (rows.length === 0) return <Nothing view={view} />;
  return (
    <div class="rows">
      {live.held > 0 && (
        <p class="held">
          <button type="button" class="primary" onClick={live.show}>
            {count(live.held)} new
          </button>
        </p>
      )}
      <Rows
        rows={rows}
        zone={view.zone}
        names={names}
        link={(id) => view.link({ request: id })}
        open={view.request}
        isMore={live.hasOlder}
        more={live.older}
        reveal={reveal}
      />
      <p class="note">{live.hasOlder ? "Older ones follow." : "That is all of this range."}</p>
    </div>
  );
}

function Nothing({ view }: { view: ListView }) {
  const filters = Object.entries(view.narrowed);
  if (filters.length > 0)
    return (
      <div class="panel empty">
        <h2>No request passes these filters</h2>
        <p>{filters.map(([name, value]) => `${name.replaceAll("_", " ")}: ${value}`).join(", ")}</p>
        <button type="button" onClick={() => view.set(CLEARED)}>
          Clear the filters
        </button>
      </div>
    );
  return (
    <div class="panel empty">
      <h2>No request ended in this range</h2>
      <p>What is sent from now on is listed as it ends. An earlier one may be in a longer range.</p>
      <button type="button" onClick={() => view.set({ range: "30d", from: null, to: null })}>
        Show 30 days
      </button>
    </div>
  );
}

const about = (view: ListView, matched: number | null): string =>
  [
    `${matched === null ? "" : `${count(matched)} in `}${view.chosen ? "" : "the last "}${rangeName(view)}`,
    "newest first",
    `times in ${view.zone}`,
  ].join(", ");

type Reveal = ListProps["reveal"];

/** What was open gives the focus back to its row, which may have to be scrolled to first. */
function useFocusBack(request: string | undefined, rows: readonly RequestRow[] | undefined, reveal: Reveal) {
  const last = useRef<string | undefined>(undefined);
  useEffect(() => {
    const was = last.current;
    last.current = request;
    if (request !== undefined || was === undefined || !rows) return;
    const index = rows.findIndex((row) => isSame(row, was));
    if (index < 0) return;
    const focus = () => document.getElementById(`row-${rows[index]!.id}`)?.focus();
    reveal.current?.(index);
    focus();
    requestAnimationFrame(() => requestAnimationFrame(focus));
  }, [request]);
}

/** j and k walk, Escape closes, / finds. Not while something is typed. */
function useKeys(
  rows: readonly RequestRow[] | undefined,
  open: string | undefined,
  go: (id: string | null) => void,
  reveal: Reveal,
) {
  const latest = useRef({ rows, open, go });
  latest.current = { rows, open, go };
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const { rows, open, go } = latest.current;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const typed = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
      if (event.key === "Escape" && typed) return (document.activeElement as HTMLElement).blur();
      if (event.key === "Escape" && open) return go(null);
      if (typed) return;
      if (event.key === "/") {
        event.preventDefault();
        document.querySelector<HTMLInputElement>(".find input")?.focus();
      }
      const step = { j: 1, k: -1 }[event.key];
      if (step === undefined || !rows) return;
      const at = rows.findIndex((row) => isSame(row, open));
      const next = at < 0 ? 0 : at + step;
      const id = rows[next]?.id;
      if (!id) return;
      reveal.current?.(next);
      go(id);
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
}

/** The rows that are here, exactly. */
function save(rows: readonly RequestRow[], names: Names): void {
  const head = "settled_at,id,outcome,model,region,backend,key,attempts,input_tokens,cached_input_tokens,";
  const text = (value: string | number | null) => String(value ?? "");
  saveCsv("requests.csv", [
    `${head}output_tokens,ttft_ms,duration_ms,usd`.split(","),
    ...rows.map((row) =>
      [
        row.settled_at,
        row.id,
        row.outcome,
        row.model,
        row.region,
        names.backend(row.backend),
        names.key(row.key),
        row.attempts,
        row.input_tokens,
        row.cached_input_tokens,
        row.output_tokens,
        row.ttft_ms,
        row.duration_ms,
        row.cost_nanodollars && usdExact(row.cost_nanodollars).replaceAll(/[$,]/g, ""),
      ].map(text),
    ),
  ]);
}
