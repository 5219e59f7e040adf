/**
 * The list of requests: a first page, then what is new every two seconds in one question, however many rows. It is
 * quiet while nobody sees it or the range has ended, and holds new rows back while the reader is further down.
 */
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "./api.ts";

export interface RequestRow {
  readonly sequence: number;
  readonly id: string | null;
  readonly request_id: string | null;
  readonly settled_at: string;
  readonly model: string | null;
  readonly region: string | null;
  readonly backend: string | null;
  readonly key: string | null;
  readonly outcome: string;
  readonly finish_reason: string | null;
  readonly attempts: number;
  readonly failed_over: boolean;
  readonly input_tokens: number | null;
  readonly cached_input_tokens: number | null;
  readonly output_tokens: number | null;
  readonly cost_nanodollars: string | null;
  readonly ttft_ms: number | null;
  readonly duration_ms: number | null;
  readonly output_tokens_per_second: number | null;
}

interface Page {
  readonly data: readonly RequestRow[];
  readonly next_before: number | null;
  readonly newest: number;
  readonly matched: number | null;
}

const EVERY_MS = 2_000;
const LIMIT = 100;
/** Rows that the page holds, few of which are in it: a list that is open for a week is no larger than one of an hour. */
const MOST_ROWS = 5_000;
/** Above this the newest rows are seen, and new ones may come. */
const TOP_PX = 200;

export interface Live {
  readonly rows: readonly RequestRow[] | undefined;
  readonly held: number;
  readonly matched: number | null;
  readonly error: Error | undefined;
  readonly hasOlder: boolean;
  readonly older: () => void;
  readonly show: () => void;
}

interface Kept {
  readonly rows: readonly RequestRow[];
  readonly held: readonly RequestRow[];
  readonly before: number | null;
  readonly newest: number;
  readonly matched: number | null;
}

export function useLive(query: string, isLive: boolean): Live {
  const [kept, keep] = useState<Kept>();
  const [error, setError] = useState<Error>();
  const now = useRef<Kept | undefined>(undefined);
  const isAsking = useRef(false);
  const wanted = useRef(isLive);
  wanted.current = isLive;
  const put = (next: Kept | undefined) => {
    now.current = next;
    keep(next);
  };
  const ask = (more: string, signal?: AbortSignal) =>
    api<Page>(`/v1/requests?${query}&limit=${LIMIT}${more}`, signal && { signal });

  useEffect(() => {
    const gone = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const first = async () => {
      const page = await ask("", gone.signal);
      put({
        rows: page.data,
        held: [],
        before: page.next_before,
        newest: page.newest,
        matched: page.matched,
      });
    };
    const next = async (known: Kept) => {
      const page = await ask(`&after=${known.newest}`, gone.signal);
      // More than a page came at once: what lies between is only in a new list.
      if (page.next_before !== null && page.data.length === LIMIT) return await first();
      const latest = now.current ?? known;
      const held = [...page.data, ...latest.held];
      const matched = latest.matched === null ? null : latest.matched + page.data.length;
      const isAtTop = scrollY < TOP_PX;
      put({
        ...latest,
        newest: page.newest,
        matched,
        rows: isAtTop ? [...held, ...latest.rows].slice(0, MOST_ROWS) : latest.rows,
        held: isAtTop ? [] : held,
      });
    };
    const tick = async () => {
      try {
        if (!now.current) await first();
        else if (wanted.current && !document.hidden) await next(now.current);
        setError(undefined);
      } catch (failed) {
        if (gone.signal.aborted) return;
        setError(failed as Error);
      }
      if (!gone.signal.aborted) timer = setTimeout(tick, EVERY_MS);
    };
    put(undefined);
    tick();
    return () => {
      gone.abort();
      clearTimeout(timer);
    };
  }, [query]);

  const older = async () => {
    const before = now.current?.before;
    if (before == null || isAsking.current) return;
    isAsking.current = true;
    try {
      const { data, next_before } = await ask(`&before=${before}`);
      const latest = now.current;
      // Another list may have begun.
      if (latest?.before === before) put({ ...latest, rows: [...latest.rows, ...data], before: next_before });
    } catch (failed) {
      setError(failed as Error);
    }
    isAsking.current = false;
  };
  const show = () => {
    const latest = now.current!;
    put({ ...latest, rows: [...latest.held, ...latest.rows].slice(0, MOST_ROWS), held: [] });
    scrollTo(0, 0);
  };
  return {
    rows: kept?.rows,
    held: kept?.held.length ?? 0,
    matched: kept?.matched ?? null,
    error,
    hasOlder: kept?.before != null && kept.rows.length < MOST_ROWS,
    older,
    show,
  };
}
