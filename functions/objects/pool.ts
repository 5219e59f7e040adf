/**
 * A pool: the backends of one region that serve one model. Its object is the one place that counts what was placed
 * there and has not finished, learns from every outcome, and knows which blocks of prompts each backend has lately
 * computed. All of it is in memory: a pool that starts again knows nothing for a moment, counts no slot of before,
 * and learns the rest from the backends' own gauges. Slots are leases: one that nobody ends goes at its deadline.
 */
import { DurableObject } from "cloudflare:workers";
import { begin, OPEN_AFTER, observe } from "../../router/health.ts";
import { type Decision, decide } from "../../router/place.ts";
import { createPrefixIndex, forgetBackend, insertPrefix } from "../../router/prefix.ts";
import { createSessions, rememberSession } from "../../router/sessions.ts";
import { isResting } from "../../router/standing.ts";
import type { FleetView, Health, Outcome, RouteRequest } from "../../router/types.ts";
import { SECOND_MS } from "../clock.ts";
import type { Env } from "../env.ts";
import { type Gauges, readGauges } from "../fleet/gauges.ts";
import { backendView, type Load } from "../fleet/load.ts";
import { type Backend, backendsOf, type Snapshot, snapshot } from "../fleet/snapshot.ts";
import type { AttemptId } from "../ids.ts";

export interface PoolName {
  readonly region: string;
  readonly model: string;
}

export interface PoolAsk {
  readonly pool: PoolName;
  readonly request: RouteRequest;
  readonly attempt: AttemptId;
  /** When the slot ends by itself, ms since the epoch. */
  readonly untilMs: number;
  /** Round trip from the edge that asks, ms. */
  readonly distanceMs: number;
  /** The version of the view that it has. */
  readonly since: number;
}

/** A prompt that was placed: who is about to have its blocks. */
export interface PlacedPrefix {
  readonly salt: string;
  readonly blocks: readonly string[];
  readonly session?: string;
  readonly backend: string;
}

/** What an edge keeps of a pool between two requests. */
export interface PoolView {
  /** Only goes up, over the object's lives too: the time of its last change, ms. */
  readonly version: number;
  readonly loads: Readonly<Record<string, Load>>;
  readonly health: Readonly<Record<string, Health>>;
  /** What was placed since the version that was asked from, as far as it is remembered. */
  readonly placed: readonly PlacedPrefix[];
}

export interface PoolAnswer {
  readonly decision: Decision;
  readonly view: PoolView;
}

interface Slot {
  readonly backend: string;
  readonly untilMs: number;
  /** Prompt tokens to compute until its first token. */
  pendingTokens: number;
}

/** Placements that are told to edges: each asks every second, so this is far more than one second's. */
const REMEMBERED = 512;
/** Blocks of one prompt that are told to edges: 64 of 128 tokens say where a conversation's cache is. */
const TOLD_BLOCKS = 64;
/** How old a backend's own gauges may be before it is asked again; nothing asks while nobody does. */
const GAUGES_MS = 1 * SECOND_MS;
const PROBES_AT_ONCE = 4;

export class PoolObject extends DurableObject<Env> {
  #fleet: FleetView = {
    version: 0,
    backends: [],
    health: {},
    prefixes: createPrefixIndex(),
    sessions: createSessions(),
  };
  readonly #slots = new Map<AttemptId, Slot>();
  readonly #gauges = new Map<
    string,
    Gauges & { /** Of ours, when it was asked. */ readonly placed: number }
  >();
  readonly #placed: { readonly version: number; readonly prefix: PlacedPrefix }[] = [];
  #version = 0;
  #probing = false;

  /** Places a request on a backend of this pool and counts it there, in one step. */
  async assign({ pool, request, attempt, untilMs, distanceMs, since }: PoolAsk): Promise<PoolAnswer> {
    const now = Date.now();
    const view = await snapshot(this.env, (work) => this.ctx.waitUntil(work));
    this.#look(view, pool, now, distanceMs);
    const decision = decide(request, this.#fleet, now, Math.random);
    if (decision.kind === "placed") {
      const { decode, cachedTokens } = decision.placements[0]!;
      const pendingTokens = Math.max(
        0,
        (request.expectedPromptTokens ?? request.promptTokens) - cachedTokens,
      );
      this.#slots.set(attempt, { backend: decode, untilMs, pendingTokens });
      this.#fleet = begin(this.#fleet, decode, now);
      this.#remember(request, decode, now);
    }
    this.#probe(view, pool, now);
    return { decision, view: this.#view(now, since) };
  }

  /** How an attempt goes. `ended` gives its slot back; without an outcome nothing is learnt of the backend. */
  async report(attempt: AttemptId, outcome: Outcome | undefined, ended: boolean): Promise<void> {
    const now = Date.now();
    const slot = this.#slots.get(attempt);
    if (slot) slot.pendingTokens = 0;
    if (ended) this.#slots.delete(attempt);
    if (outcome) this.#fleet = observe(this.#fleet, outcome, now);
    this.#changed(now);
  }

  /** For edges, at most once a second each, and for people. */
  async view(pool: PoolName, since: number): Promise<PoolView> {
    const now = Date.now();
    const view = await snapshot(this.env, (work) => this.ctx.waitUntil(work));
    this.#look(view, pool, now, 0);
    this.#probe(view, pool, now);
    return this.#view(now, since);
  }

  /**
   * What a probe teaches. Draining is the backend's own word. One that does not answer has failed, so a dead one is
   * found without a request. One that rests and proves that it is up is taken back without one.
   */
  #heard(backend: string, { atMs, up, draining, certain }: Gauges): void {
    const told = (kind: Outcome["kind"]) => {
      this.#fleet = observe(this.#fleet, { backend, kind }, atMs);
    };
    if (draining) told("draining");
    else if (!up) told("failed");
    else if (certain && (this.#fleet.health[backend]?.retryAtMs ?? 0) > 0) told("served");
  }

  #view(now: number, since: number): PoolView {
    this.#expireSlots(now);
    const loads: Record<string, Load> = {};
    for (const id of new Set([
      ...this.#gauges.keys(),
      ...[...this.#slots.values()].map((slot) => slot.backend),
    ])) {
      loads[id] = this.#load(id);
    }
    const placed = this.#placed.filter((one) => one.version > since).map((one) => one.prefix);
    return { version: this.#version, loads, health: this.#fleet.health, placed };
  }

  #load(id: string): Load {
    let placed = 0;
    let pendingPrefillTokens = 0;
    for (const slot of this.#slots.values()) {
      if (slot.backend !== id) continue;
      placed++;
      pendingPrefillTokens += slot.pendingTokens;
    }
    return { placed, pendingPrefillTokens, ...this.#gaugesNow(id, placed) };
  }

  /** The backend's own gauges, without those of ours that have ended since it said so. */
  #gaugesNow(id: string, placed: number): Partial<Load> {
    const gauges = this.#gauges.get(id);
    if (!gauges) return {};
    const ended = Math.max(0, gauges.placed - placed);
    const { running, ...load } = gauges.load;
    return { ...load, ...(running !== undefined && { running: Math.max(0, running - ended) }) };
  }

  /** The pool as it stands: its members, how loaded each is. Ejection compares among them, so the view lists all. */
  #look(view: Snapshot, pool: PoolName, now: number, distanceMs: number): void {
    this.#expireSlots(now);
    const members = membersOf(view, pool);
    const backends = members.map((backend) => backendView(backend, distanceMs, this.#load(backend.id)));
    this.#fleet = { ...this.#fleet, backends };
  }

  #expireSlots(now: number): void {
    for (const [attempt, slot] of this.#slots) {
      if (slot.untilMs > now) continue;
      this.#slots.delete(attempt);
      // Nobody told how it went: that says nothing of the backend, and frees its probe.
      this.#fleet = observe(this.#fleet, { backend: slot.backend, kind: "left" }, now);
    }
  }

  #remember(request: RouteRequest, backend: string, now: number): void {
    const { salt, session } = request;
    insertPrefix(this.#fleet.prefixes!, salt, request.blocks, backend);
    if (session !== undefined) rememberSession(this.#fleet.sessions!, salt, session, backend);
    this.#changed(now);
    if (request.blocks.length === 0 && session === undefined) return;
    const prefix = {
      salt,
      blocks: request.blocks.slice(0, TOLD_BLOCKS),
      backend,
      ...(session !== undefined && { session }),
    };
    this.#placed.push({ version: this.#version, prefix });
    if (this.#placed.length > REMEMBERED) this.#placed.shift();
  }

  #changed(now: number): void {
    this.#version = Math.max(this.#version + 1, now);
  }

  /** Asks the backends for their gauges where those are old: beside the request, never in its way. */
  #probe(view: Snapshot, pool: PoolName, now: number): void {
    const old = membersOf(view, pool).filter(
      (backend) => now - (this.#gauges.get(backend.id)?.atMs ?? 0) > GAUGES_MS,
    );
    if (this.#probing || old.length === 0) return;
    this.#probing = true;
    this.ctx.waitUntil(
      this.#probeUntilKnown(old).finally(() => {
        this.#probing = false;
      }),
    );
  }

  /** One that does not answer is asked again at once, until that is certain enough for it to rest. */
  async #probeUntilKnown(backends: readonly Backend[]): Promise<void> {
    let asked = backends;
    for (let round = 0; round < OPEN_AFTER && asked.length > 0; round++) {
      await this.#readAll(asked);
      const now = Date.now();
      asked = asked.filter(({ id }) => !this.#gauges.get(id)?.up && !isResting(this.#fleet.health[id], now));
    }
  }

  async #readAll(backends: readonly Backend[]): Promise<void> {
    for (let i = 0; i < backends.length; i += PROBES_AT_ONCE) {
      await Promise.all(
        backends.slice(i, i + PROBES_AT_ONCE).map(async (backend) => {
          const before = this.#gauges.get(backend.id);
          const gauges = await readGauges(backend);
          this.#gauges.set(backend.id, { ...gauges, placed: this.#load(backend.id).placed });
          this.#heard(backend.id, gauges);
          if (
            before?.bootId !== undefined &&
            gauges.bootId !== undefined &&
            before.bootId !== gauges.bootId
          ) {
            forgetBackend(this.#fleet.prefixes!, backend.id); // A new process: its cache is empty.
          }
          this.#changed(gauges.atMs);
        }),
      );
    }
  }
}

function membersOf(view: Snapshot, { region, model }: PoolName): Backend[] {
  return backendsOf(view, model).filter((backend) => backend.region === region);
}
