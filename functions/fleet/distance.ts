/**
 * How far a region is from here: the round trip, measured by this isolate on a backend's health, with the part that
 * a simulated region pretends. Until it was measured: the great circle between the caller and the region.
 */
import { after, SECOND_MS } from "../clock.ts";
import { dialects } from "../dispatch/dialects/by-kind.ts";
import { type Backend, type Region, type Snapshot, urlAt } from "./snapshot.ts";

/** Where location hints of Durable Objects are, roughly: a large city of each. */
const ZONES: Readonly<Record<string, readonly [latitude: number, longitude: number]>> = {
  wnam: [37.4, -122.1],
  enam: [39.0, -77.5],
  sam: [-23.5, -46.6],
  weur: [50.1, 8.7],
  eeur: [52.2, 21.0],
  apac: [1.35, 103.8],
  "apac-ne": [35.7, 139.7],
  "apac-se": [-6.2, 106.8],
  oc: [-33.9, 151.2],
  afr: [-26.2, 28.0],
  me: [25.2, 55.3],
};

/** Light in fibre, 200 km a millisecond, there and back; and what routes are longer than the great circle. */
const KM_A_ROUND_TRIP_MS = 100;
const DETOUR = 1.4;
const EARTH_KM = 6_371;

const MEASURE_EVERY_MS = 30 * SECOND_MS;
const LIMIT_MS = 3 * SECOND_MS;

/** A measurement that the platform cut with its request never ends: after this its mark counts no more. */
const STALE_MS = 10 * SECOND_MS;
/** Of a region, before it is left for the next request. */
const MOST_ASKED = 3;

const measured = new Map<string, { ms: number; atMs: number }>();
/** When a region's measurement began, while it is under way. */
const measuring = new Map<string, number>();

/** Milliseconds; undefined where nothing is known of the caller's place and nothing was measured. */
export function distanceTo(
  region: Region,
  from: { latitude: number; longitude: number } | undefined,
): number | undefined {
  const known = measured.get(region.id);
  if (known) return known.ms;
  const zone = ZONES[region.zone];
  if (!from || !zone) return undefined;
  const km = greatCircleKm([from.latitude, from.longitude], zone);
  return (km * DETOUR) / KM_A_ROUND_TRIP_MS + (region.simulatedDistanceMs ?? 0);
}

/** Measures the regions that were not lately: beside a request, never in its way; two at once measure once. */
export async function measure(view: Snapshot, backends: readonly Backend[]): Promise<void> {
  const now = Date.now();
  const due = [...Map.groupBy(backends, (backend) => backend.region)].filter(
    ([region]) =>
      now - (measured.get(region)?.atMs ?? 0) >= MEASURE_EVERY_MS &&
      now - (measuring.get(region) ?? 0) >= STALE_MS,
  );
  await Promise.all(due.map(([region, there]) => measureRegion(view, region, there)));
}

/** The first that answers: one that is ill must not leave its region without a distance. */
async function measureRegion(view: Snapshot, region: string, backends: readonly Backend[]): Promise<void> {
  const startedAt = Date.now();
  measuring.set(region, startedAt);
  try {
    for (const backend of inTurn(backends, startedAt).slice(0, MOST_ASKED)) {
      const ms = await roundTripMs(backend, view.regions.get(region)?.simulatedDistanceMs ?? 0);
      if (ms === undefined) continue;
      measured.set(region, { ms, atMs: Date.now() });
      return;
    }
  } finally {
    if (measuring.get(region) === startedAt) measuring.delete(region);
  }
}

/** Another one first each time, so that many ill ones do not hide a well one for ever. */
function inTurn(backends: readonly Backend[], nowMs: number): readonly Backend[] {
  const first = nowMs % backends.length;
  return [...backends.slice(first), ...backends.slice(0, first)];
}

async function roundTripMs(backend: Backend, simulatedMs: number): Promise<number | undefined> {
  const startedAt = Date.now();
  try {
    await after(simulatedMs);
    const response = await fetch(urlAt(backend, dialects[backend.kind].health.path), {
      redirect: "manual",
      signal: AbortSignal.timeout(LIMIT_MS),
    });
    await response.body?.cancel();
    return Date.now() - startedAt;
  } catch {
    return undefined;
  }
}

/** Haversine. Degrees in, kilometres out. */
function greatCircleKm(a: readonly [number, number], b: readonly [number, number]): number {
  const rad = (degrees: number) => (degrees * Math.PI) / 180;
  const dLat = rad(b[0] - a[0]);
  const dLon = rad(b[1] - a[1]);
  const h = Math.sin(dLat / 2) ** 2 + Math.cos(rad(a[0])) * Math.cos(rad(b[0])) * Math.sin(dLon / 2) ** 2;
  return 2 * EARTH_KM * Math.asin(Math.min(1, Math.sqrt(h)));
}
