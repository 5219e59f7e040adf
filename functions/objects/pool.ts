/**
 * A pool: the backends of one region that serve one model. Its object is the one place that counts what was placed
 * there and has not finished, learns from every outcome, and knows which blocks of prompts each backend has lately
 * computed. All of it is in memory: a pool that starts again knows nothing for a moment, counts no slot of before,
 * and learns the rest from the backends' own gauges. Slots are leases: one that nobody ends goes at its deadline.
 */
import { DurableObject } from "cloudflare:workers";
import { withBackends } from "../../router/fleet.ts";
import { begin, OPEN_AFTER, observe } from "../../router/health.ts";
import { type Decision, decide } from "../../router/place.ts";
import { createPrefixIndex, forgetBackend, insertPrefix } from "../../router/prefix.ts";
import { createSessions, rememberSession } from "../../router/sessions.ts";
import { isResting } from "../../router/standing.ts";
import type { BackendView, FleetView, Health, Outcome, RouteRequest } from "../../router/types.ts";
import { SECOND_MS } from "../clock.ts";
import type { Env } from "../env.ts";
import { framesOf } from "../errors.ts";
import { type Noticed, noticed } from "../fleet/events.ts";
import { type Gauges, lacksModel, readGauges } from "../fleet/gauges.ts";
import type { Load } from "../fleet/load.ts";
import { type Company, Member, type Speed, type StandingSince } from "../fleet/member.ts";
import { type Backend, backendsOf, type Snapshot, snapshot } from "../fleet/snapshot.ts";
import type { AttemptId, BackendId } from "../ids.ts";
import { tellRegionChanges } from "../webhooks/regions.ts";

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
  /** What it has to tell before. */
  readonly progress?: readonly Progress[];
}

/** How an attempt goes, as its edge tells the pool. */
export interface Progress {
  readonly attempt: AttemptId;
  /** Absent: nothing is learnt of the backend's health. */
  readonly outcome?: Outcome;
  /** It gives its slot back. */
  readonly ended: boolean;
  /** Absent: nothing is learnt of the backend's rates. */
  readonly speed?: Speed;
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
  /** Whether each gets requests, why not, and since when. */
  readonly standings: Readonly<Record<string, StandingSince>>;
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
  readonly company: Company;
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
const TELL_AGAIN_MS = 5 * SECOND_MS;

export class PoolObject extends DurableObject<Env> {
  #fleet: FleetView = {
    version: 0,
    backends: [],
    health: {},
    prefixes: createPrefixIndex(),
    sessions: createSessions(),
  };
  readonly #slots = new Map<AttemptId, Slot>();
  readonly #members = new Map<string, Member>();
  readonly #placed: { readonly version: number; readonly prefix: PlacedPrefix }[] = [];
  #version = 0;
  #probing = false;
  /** What D1 was told of each backend, in this life of the object. */
  readonly #told = new Map<string, boolean>();
  /** D1 did not take it: not before this again. */
  #tellAgainAt = 0;
  /** One at a time: a fall and a recovery must not overtake each other on their way. */
  #telling = false;

  /** Places a request on a backend of this pool and counts it there, in one step, on what its edge has to tell. */
  async assign(ask: PoolAsk): Promise<PoolAnswer> {
    const { pool, request, attempt, untilMs, distanceMs, since, progress = [] } = ask;
    const now = Date.now();
    const view = await snapshot(this.env, (work) => this.ctx.waitUntil(work));
    for (const one of progress) this.#progress(one, now);
    this.#look(view, pool, now, distanceMs);
    const decision = decide(request, this.#fleet, now, Math.random);
    if (decision.kind === "placed") {
      const { decode, cachedTokens } = decision.placements[0]!;
      const pendingTokens = Math.max(
        0,
        (request.expectedPromptTokens ?? request.promptTokens) - cachedTokens,
      );
      const company = this.#members.get(decode)!.place(pendingTokens, distanceMs);
      this.#slots.set(attempt, { backend: decode, untilMs, company, pendingTokens });
      this.#fleet = begin(this.#fleet, decode, now);
      this.#remember(request, decode, now);
    }
    this.#probe(view, pool, now);
    return { decision, view: this.#view(now, since) };
  }

  /** What has happened to attempts, in its order. */
  async report(progress: readonly Progress[]): Promise<void> {
    const now = Date.now();
    for (const one of progress) this.#progress(one, now);
  }

  #progress({ attempt, outcome, ended, speed }: Progress, now: number): void {
    const slot = this.#slots.get(attempt);
    if (slot) {
      if (speed) this.#members.get(slot.backend)?.learn(speed, slot.company);
      this.#free(attempt, slot, ended);
    }
    // One that was removed is not learnt of again.
    if (outcome && this.#members.has(outcome.backend)) this.#fleet = observe(this.#fleet, outcome, now);
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
    for (const { id } of this.#fleet.backends) loads[id] = this.#members.get(id)!.load();
    const standings = this.#standings(now);
    this.#tell(standings, now);
    const placed = this.#placed.filter((one) => one.version > since).map((one) => one.prefix);
    return { version: this.#version, loads, health: this.#fleet.health, standings, placed };
  }

  #standings(now: number): Readonly<Record<string, StandingSince>> {
    const standings: Record<string, StandingSince> = {};
    for (const backend of this.#fleet.backends)
      standings[backend.id] = this.#members
        .get(backend.id)!
        .standing(backend, this.#fleet.health[backend.id], now);
    return standings;
  }

  /**
   * Has D1 told which backends went down or came back, and webhooks which regions did by that. One that was not heard
   * of yet says neither.
   */
  #tell(standings: Readonly<Record<string, StandingSince>>, now: number): void {
    if (this.#telling || now < this.#tellAgainAt) return;
    const changes: Noticed[] = [];
    for (const { id, region } of this.#fleet.backends) {
      const { state, reason } = standings[id]!;
      const isDown = state !== "up" && state !== "draining";
      if (isDown === this.#told.get(id) || (!isDown && !this.#members.get(id)?.gauges?.up)) continue;
      this.#told.set(id, isDown);
      changes.push({ backend: id as BackendId, region, isDown, reason });
    }
    if (changes.length === 0) return;
    this.#telling = true;
    const told = noticed(this.env, changes, now)
      .then((untold) => tellRegionChanges(this.env, untold))
      .catch((error: unknown) => {
        // All of it again: what D1 and the webhooks have of it stays one.
        this.#tellAgainAt = now + TELL_AGAIN_MS;
        for (const { backend } of changes) this.#told.delete(backend);
        console.error(`of ${changes.length} backends not all was told: ${framesOf(error)}`);
      })
      .finally(() => {
        this.#telling = false;
      });
    this.ctx.waitUntil(told);
  }

  /** The pool as it stands: its members, how loaded each is. Ejection compares among them, so the view lists all. */
  #look(view: Snapshot, pool: PoolName, now: number, distanceMs: number): void {
    this.#expireSlots(now);
    const contextLength = view.models.get(pool.model)?.contextLength;
    const rows = membersOf(view, pool);
    const backends = rows.map((row) => {
      let member = this.#members.get(row.id);
      if (!member) this.#members.set(row.id, (member = new Member(row)));
      return member.view(row, contextLength, distanceMs);
    });
    const before = this.#fleet.backends;
    const isSame = backends.length === before.length && backends.every((one, at) => one === before[at]);
    if (isSame) return;
    this.#forgetAllBut(backends);
    this.#fleet = withBackends(this.#fleet, backends);
  }

  /** What was removed leaves nothing here: its id may come back as another machine. */
  #forgetAllBut(backends: readonly BackendView[]): void {
    const there = new Set(backends.map(({ id }) => id));
    for (const id of this.#members.keys()) {
      if (there.has(id)) continue;
      this.#members.delete(id);
      this.#told.delete(id);
      forgetBackend(this.#fleet.prefixes!, id);
      for (const [attempt, slot] of this.#slots) if (slot.backend === id) this.#slots.delete(attempt);
    }
  }

  #free(attempt: AttemptId, slot: Slot, ended: boolean): void {
    const member = this.#members.get(slot.backend);
    member?.computed(slot.pendingTokens);
    slot.pendingTokens = 0;
    if (!ended) return;
    member?.end();
    this.#slots.delete(attempt);
  }

  #expireSlots(now: number): void {
    for (const [attempt, slot] of this.#slots) {
      if (slot.untilMs > now) continue;
      this.#free(attempt, slot, true);
      // Nobody told how it went: that says nothing of the backend, and frees its probe.
      this.#fleet = observe(this.#fleet, { backend: slot.backend, kind: "left" }, now);
      this.#changed(now);
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
      (backend) => now - (this.#members.get(backend.id)?.gauges?.atMs ?? 0) > GAUGES_MS,
    );
    if (this.#probing || old.length === 0) return;
    this.#probing = true;
    this.ctx.waitUntil(
      this.#probeUntilKnown(old).finally(() => {
        this.#probing = false;
        const now = Date.now();
        this.#tell(this.#standings(now), now);
      }),
    );
  }

  /** One that does not answer is asked again at once, until that is certain enough for it to rest. */
  async #probeUntilKnown(backends: readonly Backend[]): Promise<void> {
    let asked = backends;
    for (let round = 0; round < OPEN_AFTER && asked.length > 0; round++) {
      await this.#readAll(asked);
      const now = Date.now();
      asked = asked.filter(({ id }) => {
        const gauges = this.#members.get(id)?.gauges;
        return gauges && !gauges.up && !isResting(this.#fleet.health[id], now);
      });
    }
  }

  async #readAll(backends: readonly Backend[]): Promise<void> {
    for (let i = 0; i < backends.length; i += PROBES_AT_ONCE)
      await Promise.all(backends.slice(i, i + PROBES_AT_ONCE).map((backend) => this.#read(backend)));
  }

  async #read(backend: Backend): Promise<void> {
    const { id } = backend;
    const gauges = await readGauges(backend);
    const member = this.#members.get(id);
    if (!member) return; // Removed meanwhile.
    const before = member.gauges;
    member.hear(gauges);
    this.#heard(id, gauges);
    if (before?.bootId !== undefined && gauges.bootId !== undefined && before.bootId !== gauges.bootId)
      forgetBackend(this.#fleet.prefixes!, id); // A new process: its cache is empty.
    if (gauges.up && member.asksForModels(gauges.atMs))
      member.hearModels(await lacksModel(backend), Date.now());
    this.#changed(Date.now());
  }
}

function membersOf(view: Snapshot, { region, model }: PoolName): Backend[] {
  return backendsOf(view, model).filter((backend) => backend.region === region);
}
