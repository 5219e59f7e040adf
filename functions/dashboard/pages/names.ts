/** What ids are called: keys by whoever made them, backends by their operator, both only for whom they are shown to. */
import { may } from "../api.ts";
import { useApi } from "../query.ts";
import type { Fleet } from "./regions/fleet.ts";

interface Keys {
  readonly data: readonly { readonly id: string; readonly name: string; readonly hint: string }[];
}

export interface Names {
  readonly key: (id: string | null) => string | null;
  readonly backend: (id: string | null) => string | null;
  readonly keys: Keys["data"];
  readonly fleet: Fleet | undefined;
}

const EVERY_MS = 60_000;

/** A key whose name may not be known is its last four characters; a backend is its id. */
export function useNames(): Names {
  const keys = useApi<Keys>(may("manage") ? "/v1/keys" : null, EVERY_MS).data?.data ?? [];
  const fleet = useApi<Fleet>("/v1/regions", EVERY_MS).data;
  const backends = fleet?.data.flatMap(({ backends }) => backends ?? []) ?? [];
  const keyNames = new Map(keys.map(({ id, name }) => [id, name]));
  const backendNames = new Map(backends.map(({ id, name }) => [id, name]));
  return {
    key: (id) => id && (keyNames.get(id) ?? `…${id.slice(-4)}`),
    backend: (id) => id && (backendNames.get(id) ?? id),
    keys,
    fleet,
  };
}
