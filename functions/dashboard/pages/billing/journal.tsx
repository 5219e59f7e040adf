/** The journal, newest first: each change of the balance with the balance after it, to its request, and as CSV. */
import { useRef, useState } from "preact/hooks";
import { useLocation } from "preact-iso/router";
import { api, may } from "../../api.ts";
import { count, fullTime, leadingZeros, moment, usdExact, usdRequest } from "../../format.ts";
import { Failed, Loading } from "../../parts.tsx";
import { useApi } from "../../query.ts";
import { changedQuery } from "../../state.ts";
import { copyExact } from "./copy.ts";
import { brokenAt, csvHead, csvOf, type Entry, type JournalPage, kindOf } from "./entries.ts";

const LIMIT = 40;

export function Journal({ zone }: { zone: string }) {
  const { path, query } = useLocation();
  const before = /^\d+$/.test(query.before ?? "") ? Number(query.before) : undefined;
  const [isExact, setExact] = useState(false);
  const at = before === undefined ? "" : `&before=${before}`;
  const { data, error, refetch, isPlaceholderData } = useApi<JournalPage>(
    `/v1/journal?limit=${LIMIT}${at}`,
    before === undefined ? 5_000 : undefined,
  );
  const names = useKeyNames();
  const to = (next: number | null) => path + changedQuery(query, { before: next?.toString() ?? null });
  if (!data) return error ? <Failed error={error} again={refetch} /> : <Loading what="the journal" />;
  const rows = data.data;
  // Entries are numbered without a gap: the page above this one ends where this one begins.
  const newer = (rows[0]?.sequence ?? 0) + LIMIT + 1;
  return (
    <section class="panel journal" aria-labelledby="journal">
      <header>
        <h2 id="journal">Journal</h2>
        <div class="row">
          <button type="button" class="small" aria-pressed={isExact} onClick={() => setExact(!isExact)}>
            All nine digits
          </button>
          <Export />
        </div>
      </header>
      {error && <Failed error={error} again={refetch} />}
      {rows.length === 0 ? (
        <div class="empty">
          <p>
            {before === undefined ? "Nothing has changed the balance yet." : "Nothing is older than that."}
          </p>
          {before === undefined && may("manage") && <p>The first credit is the first entry.</p>}
        </div>
      ) : (
        <Entries rows={rows} names={names} zone={zone} isExact={isExact} isOld={isPlaceholderData} />
      )}
      {(before !== undefined || data.next_before !== null) && (
        <nav class="pages" aria-label="Pages of the journal">
          {before !== undefined && <a href={to(null)}>Newest</a>}
          {before !== undefined && rows.length > 0 && <a href={to(newer)}>Newer</a>}
          {data.next_before !== null && <a href={to(data.next_before)}>Older</a>}
        </nav>
      )}
    </section>
  );
}

function Entries({
  rows,
  names,
  zone,
  isExact,
  isOld,
}: {
  rows: readonly Entry[];
  names: ReadonlyMap<string, string>;
  zone: string;
  isExact: boolean;
  isOld: boolean;
}) {
  const { query } = useLocation();
  const now = Date.now();
  return (
    // biome-ignore-start lint/a11y/noRedundantRoles: on phones display takes the table's own roles away
    <table class={isOld ? "blocks old" : "blocks"} role="table" aria-labelledby="journal" onCopy={copyExact}>
      <thead role="rowgroup">
        <tr role="row">
          <th scope="col" role="columnheader">
            Entry
          </th>
          <th scope="col" role="columnheader">
            What
          </th>
          <th scope="col" role="columnheader">
            Request or reference
          </th>
          <th scope="col" role="columnheader" class="number">
            Amount
          </th>
          <th scope="col" role="columnheader" class="number">
            Balance after
          </th>
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((entry) => (
          <tr role="row" key={entry.sequence}>
            <th scope="row" role="rowheader" class="entry" title={fullTime(entry.at, zone, now)}>
              {moment(entry.at, zone)} <span class="quiet">#{count(entry.sequence)}</span>
            </th>
            <td role="cell" class="what">
              {kindOf(entry)}
              <span class="below">
                {[entry.model, entry.key && (names.get(entry.key) ?? entry.key)].filter(Boolean).join(" · ")}
              </span>
            </td>
            <td role="cell" class="mono reference">
              {entry.request_id ? (
                <a href={`/dashboard/requests${changedQuery(kept(query), { request: entry.request_id })}`}>
                  {entry.request_id}
                </a>
              ) : (
                (entry.reference ?? <span class="quiet">none</span>)
              )}
            </td>
            <td role="cell" class="number amount">
              <Exact nano={entry.amount_nanodollars} isSigned isExact={isExact} />
            </td>
            <td role="cell" class="number after">
              <Exact nano={entry.balance_nanodollars} isExact={isExact} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
    // biome-ignore-end lint/a11y/noRedundantRoles: as above
  );
}

/** Range and zone go along. */
const kept = ({ range, zone }: Readonly<Record<string, string>>): Record<string, string> => ({
  ...(range && { range }),
  ...(zone && { zone }),
});

/** Six digits, nine on hover and when it is copied. */
function Exact({ nano, isSigned = false, isExact }: { nano: string; isSigned?: boolean; isExact: boolean }) {
  const isCredit = isSigned && BigInt(nano) > 0n;
  const text = isExact ? usdExact(nano) : usdRequest(nano);
  const quiet = leadingZeros(text);
  return (
    <span class={isCredit ? "good" : ""} title={usdExact(nano)} data-exact={nano}>
      {isCredit && "+"}
      {quiet > 0 && <span class="quiet">{text.slice(0, quiet)}</span>}
      {text.slice(quiet)}
    </span>
  );
}

function useKeyNames(): ReadonlyMap<string, string> {
  const { data } = useApi<{ data: { id: string; name: string }[] }>(may("manage") ? "/v1/keys" : null);
  return new Map(data?.data.map(({ id, name }) => [id, name]));
}

/** All of it, page by page, with a check that each balance follows from the one before. */
function Export() {
  const [done, setDone] = useState<number>();
  const [error, setError] = useState<Error>();
  const stop = useRef<AbortController | undefined>(undefined);
  const run = async () => {
    const own = new AbortController();
    stop.current = own;
    setError(undefined);
    try {
      const parts = [csvHead()];
      let last: Entry | undefined;
      let before: number | null | undefined;
      for (let n = 0; before !== null; ) {
        setDone(n);
        const at = before === undefined ? "" : `&before=${before}`;
        const page: JournalPage = await api(`/v1/journal?limit=100${at}`, { signal: own.signal });
        const broken = brokenAt(last ? [last, ...page.data] : page.data);
        if (broken)
          throw new Error(`The balance of entry ${broken.sequence} does not follow: tell the operator.`);
        parts.push(csvOf(page.data));
        last = page.data.at(-1) ?? last;
        before = page.next_before;
        n += page.data.length;
      }
      save(parts);
    } catch (failed) {
      if ((failed as Error).name !== "AbortError") setError(failed as Error);
    }
    setDone(undefined);
  };
  return (
    <>
      {done === undefined ? (
        <button type="button" class="small" onClick={run}>
          Export CSV
        </button>
      ) : (
        <button type="button" class="small" onClick={() => stop.current?.abort()}>
          {count(done)} entries … stop
        </button>
      )}
      {error && <Failed error={error} again={run} />}
    </>
  );
}

function save(parts: string[]): void {
  const url = URL.createObjectURL(new Blob(parts, { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = "causeway-journal.csv";
  link.click();
  // The browser reads it after this turn.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
