/** query-core for components: cancelled when nobody looks, old data kept while the new loads, quiet while hidden. */
import {
  QueryClient,
  QueryObserver,
  type QueryObserverOptions,
  type QueryObserverResult,
} from "@tanstack/query-core";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, api } from "./api.ts";

export const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2_000,
      refetchOnWindowFocus: true,
      retry: (failures, error) => failures < 2 && !(error instanceof ApiError && error.status in REFUSED),
    },
  },
});

/** Asking again would say the same. */
const REFUSED: Readonly<Record<number, true>> = { 400: true, 401: true, 403: true, 404: true, 422: true };

/** What a GET of the path answers, asked again every `everyMs`. The path decides the answer's type. */
export function useApi<T>(path: string | null, everyMs?: number): QueryObserverResult<T, Error> {
  const options: QueryObserverOptions = {
    queryKey: [path],
    queryFn: ({ signal }) => api<unknown>(path!, { signal }),
    enabled: path !== null,
    placeholderData: (previous: unknown) => previous,
    ...(everyMs !== undefined && { refetchInterval: everyMs }),
  };
  const observer = useMemo(() => new QueryObserver(client, options), []);
  const [, show] = useState<QueryObserverResult>();
  useEffect(() => observer.subscribe((result) => show(result)), [observer]);
  useEffect(() => observer.setOptions(options), [path, everyMs]);
  const result = observer.getOptimisticResult(client.defaultQueryOptions(options));
  return useLastError(path, result) as QueryObserverResult<T, Error>;
}

/** A first load that failed and is asked again stays failed until it is there: else the page would flicker. */
function useLastError(path: string | null, result: QueryObserverResult): QueryObserverResult {
  const last = useRef<{ path: string | null; error: Error | null }>({ path, error: null });
  if (last.current.path !== path || result.data !== undefined) last.current = { path, error: null };
  if (result.error) last.current = { path, error: result.error };
  const { error } = last.current;
  return result.isPending && error ? ({ ...result, error } as unknown as QueryObserverResult) : result;
}

/** After a change: everything under the path is asked again. */
export const changed = (path: string): Promise<void> =>
  client.invalidateQueries({ predicate: ({ queryKey }) => String(queryKey[0]).startsWith(path) });
