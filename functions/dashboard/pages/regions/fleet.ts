/** What GET /v1/regions answers, and what the page makes of it. */

export interface Backend {
  readonly id: string;
  readonly name: string;
  readonly model: string;
  readonly kind: string;
  readonly chip: string;
  /** What it pretends to be; null: it is what `chip` says. */
  readonly plays: string | null;
  readonly state: string;
  readonly reason: string | null;
  readonly running: number | null;
  readonly waiting: number | null;
  readonly placed: number | null;
  /** What it runs at once; null: nobody said. */
  readonly max_concurrent: number | null;
  readonly cache_use: number | null;
  readonly prefix_hit_share: number | null;
  readonly ttft_ms: number | null;
  readonly error_share: number | null;
  readonly since: string | null;
}

export interface Region {
  readonly id: string;
  readonly name: string;
  readonly jurisdiction: string | null;
  readonly simulated: boolean;
  readonly simulated_distance_ms: number | null;
  readonly distance_ms: number | null;
  readonly state: string;
  readonly own: {
    readonly requests: number;
    readonly failed: number;
    readonly ttft_ms: { readonly p50: number; readonly p95: number } | null;
    readonly cache_share: number | null;
  };
  readonly models: readonly string[];
  /** null: only an operator's account sees them. */
  readonly backends: readonly Backend[] | null;
}

export interface FleetEvent {
  readonly at: string;
  readonly region: string;
  readonly backend: string | null;
  readonly kind: string;
  readonly message: string;
}

export interface Fleet {
  readonly data: readonly Region[];
  readonly events: readonly FleetEvent[];
}

/** Chips are written as their makers do. */
export const chipName = (chip: string): string => chip.toUpperCase();

export const plural = (many: number, one: string): string => `${many} ${one}${many === 1 ? "" : "s"}`;

const ILL: Readonly<Record<string, true>> = { degraded: true, draining: true, down: true };
export const isIll = ({ state }: Region): boolean => ILL[state] === true;

/**
 * Since when something is ill, ISO: the earliest of what went down and has not recovered by the events, else of the
 * backends that take nothing, as far as anybody looked; undefined where nobody knows.
 */
export function illSince(regions: readonly Region[], events: readonly FleetEvent[]): string | undefined {
  const found = regions.filter(isIll).flatMap(({ id, backends }) => {
    const silent = (backends ?? []).filter(({ state }) => state !== "up");
    const latest = (subject: string | null) =>
      events.find(({ region, backend }) => region === id && backend === subject);
    const told = [null, ...silent.map(({ id }) => id)].flatMap((subject) => {
      const event = latest(subject);
      return event?.kind.endsWith(".down") ? [event.at] : [];
    });
    return told.length > 0 ? told : silent.flatMap(({ since }) => since ?? []);
  });
  return found.sort()[0];
}
