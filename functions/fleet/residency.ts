/**
 * Where keys may be served. The account's object has the last word at every admission; what it said is remembered
 * here, so that the next request of the same key is routed rightly the first time. Keyed by the key's whole hash.
 */
import type { Snapshot } from "./snapshot.ts";

const MOST = 10_000;
const known = new Map<string, readonly string[]>();

export function remembered(keyHash: string): readonly string[] | undefined {
  return known.get(keyHash);
}

export function remember(keyHash: string, residency: readonly string[] | undefined): void {
  known.delete(keyHash);
  if (!residency) return;
  known.set(keyHash, residency);
  // The oldest goes first: what is forgotten costs one more admission, never a wrong placement.
  if (known.size > MOST) known.delete(known.keys().next().value!);
}

/** The regions that stand under one of these jurisdictions; undefined: no restriction. */
export function regionsIn(view: Snapshot, residency: readonly string[] | undefined): string[] | undefined {
  if (!residency) return undefined;
  const inside = (jurisdiction: string | null) => jurisdiction !== null && residency.includes(jurisdiction);
  return [...view.regions.values()]
    .filter((region) => inside(region.jurisdiction))
    .map((region) => region.id);
}
