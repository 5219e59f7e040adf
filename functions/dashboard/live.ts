/**
 * The list of requests: a first page, then what is new every two seconds in one question, however many rows. It is
 * quiet while nobody sees it, and holds new rows back while the reader is further down.
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
const LIMIT = 50;
/** Rows that the page holds: older ones are a click away again. */
const MOST_ROWS = 200;

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

export function useLive(query: string): Live {
  const [kept, keep] = useState<Kept>();
  const [error, setError] = useState<Error>();
  const now = useRef<Kept | undefined>(undefined);
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
      const isAtTop = scrollY < 200;
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
        if (!document.hidden) await (now.current ? next(now.current) : first());
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

  const older = () =>
    ask(`&before=${kept!.before}`).then(({ data, next_before }) => {
      const latest = now.current!;
      put({ ...latest, rows: [...latest.rows, ...data], before: next_before });
    }, setError);
  const show = () => {
    put({ ...kept!, rows: [...kept!.held, ...kept!.rows], held: [] });
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
