/**
 * What a pool knows of one of its backends: what is placed there, its own gauges, its measured rates, whether it has
 * the model. Its view and its load are made anew only when something of it changed.
 */
import { slowing } from "../../router/load.ts";
import { learnRate, type Measured, NOTHING_MEASURED, rateOf } from "../../router/measured.ts";
import { decodeRate, prefillRate } from "../../router/rates.ts";
import { type Standing, standingOf } from "../../router/standing.ts";
import type { BackendView, Health } from "../../router/types.ts";
import { MINUTE_MS, SECOND_MS } from "../clock.ts";
import type { Gauges } from "./gauges.ts";
import { backendView, type Load } from "./load.ts";
import type { Signals } from "./metrics.ts";
import type { Backend } from "./snapshot.ts";

/** How fast one answer was, as the edge saw it. */
export interface Speed {
  /** Prompt tokens that were computed, and from sending to the first token. */
  readonly prefillTokens: number;
  readonly firstTokenMs: number;
  /** Tokens after the first, and the time from it to the last. */
  readonly decodeTokens: number;
  readonly decodeMs: number;
}

/** What it was doing when an attempt was placed: rates are of a backend that does nothing else. */
export interface Company {
  /** Nobody was before it: the time to its first token is its own. */
  readonly isFirst: boolean;
  /** How much longer its steps took for what ran there. */
  readonly slowed: number;
  readonly distanceMs: number;
}

export type StandingSince = Standing & { readonly sinceMs: number };

/** Its list of models is read again after this; where it lacked the model, sooner. */
const MODELS_MS = MINUTE_MS;
const MODELS_AGAIN_MS = 2 * SECOND_MS;
/** Of the counts of cache hits, this much stays from one reading to the next: the share is of the last half minute. */
const HITS_KEPT = 0.97;
const LEAST_QUERIES = 1;

export class Member {
  #backend: Backend;
  #placed = 0;
  #pendingTokens = 0;
  #gauges: Gauges | undefined;
  /** Of ours, when it was asked for its gauges. */
  #placedThen = 0;
  #measured: Measured = NOTHING_MEASURED;
  #hits = 0;
  #queries = 0;
  #lacksModel: boolean | undefined;
  #modelsAtMs = 0;
  #standing: StandingSince | undefined;

  #load: Load | undefined;
  #view: BackendView | undefined;
  #viewOf: { readonly contextLength: number | undefined; readonly distanceMs: number } | undefined;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  get placed(): number {
    return this.#placed;
  }

  get gauges(): Gauges | undefined {
    return this.#gauges;
  }

  /** The same object as the last time where nothing changed: what was reckoned of it stays (router/fleet.ts). */
  view(backend: Backend, contextLength: number | undefined, distanceMs: number): BackendView {
    const of = this.#viewOf;
    const isSame = of?.contextLength === contextLength && of?.distanceMs === distanceMs;
    if (this.#view && isSame && isEqual(backend, this.#backend)) return this.#view;
    if (backend.servedAs !== this.#backend.servedAs || backend.url !== this.#backend.url)
      this.#forgetModels();
    this.#backend = backend;
    this.#viewOf = { contextLength, distanceMs };
    return (this.#view = backendView(backend, contextLength, distanceMs, this.load()));
  }

  load(): Load {
    return (this.#load ??= this.#loadNow());
  }

  /** How it stands, and since when as far as anybody looked. */
  standing(view: BackendView, health: Health | undefined, nowMs: number): StandingSince {
    const { state, reason } = standingOf(view, health, nowMs);
    const before = this.#standing;
    const sinceMs = before?.state === state ? before.sinceMs : nowMs;
    return (this.#standing = { state, reason, sinceMs });
  }

  /** An attempt comes; `pendingTokens` are to be computed until its first token. */
  place(pendingTokens: number, distanceMs: number): Company {
    const waiting = this.#gauges?.load.waiting ?? 0;
    const isFirst = this.#pendingTokens === 0 && waiting === 0 && this.#placed < this.#limit();
    const slowed = this.#slowing();
    this.#placed++;
    this.#pendingTokens += pendingTokens;
    this.#changed();
    return { isFirst, slowed, distanceMs };
  }

  /** Its first token has come, or it has ended before. */
  computed(pendingTokens: number): void {
    if (pendingTokens === 0) return;
    this.#pendingTokens -= pendingTokens;
    this.#changed();
  }

  /** An attempt has ended. */
  end(): void {
    this.#placed--;
    this.#changed();
  }

  /** From an answer that came to its end, where the backend has no counters of its own for it. */
  learn(speed: Speed, company: Company): void {
    const { signals } = this.#gauges ?? {};
    if (signals?.prefillTokens === undefined && company.isFirst) {
      const seconds = (speed.firstTokenMs - company.distanceMs) / 1000;
      this.#learn("prefill", speed.prefillTokens, seconds, company.slowed);
    }
    if (signals?.decodeTokens === undefined)
      this.#learn("decode", speed.decodeTokens, speed.decodeMs / 1000, this.#slowing());
  }

  /** What it says of itself. */
  hear(gauges: Gauges): void {
    const before = this.#gauges;
    this.#gauges = gauges;
    this.#placedThen = this.#placed;
    if (before?.signals && gauges.signals) this.#compare(before.signals, gauges.signals);
    // A new process may serve something else.
    if (before?.bootId !== gauges.bootId) this.#forgetModels();
    this.#changed();
  }

  asksForModels(nowMs: number): boolean {
    return nowMs - this.#modelsAtMs > (this.#lacksModel ? MODELS_AGAIN_MS : MODELS_MS);
  }

  hearModels(lacks: boolean | undefined, nowMs: number): void {
    this.#lacksModel = lacks;
    this.#modelsAtMs = nowMs;
    this.#changed();
  }

  #forgetModels(): void {
    this.#modelsAtMs = 0;
  }

  /** Two readings of counters: what was done in between. A smaller number is a new start. */
  #compare(before: Signals, now: Signals): void {
    const since = (name: keyof Signals) => {
      const [from, to] = [before[name], now[name]];
      return from === undefined || to === undefined || to < from ? undefined : to - from;
    };
    const decoded = since("decodeTokens");
    const decoding = since("decodeSeconds");
    if (decoded && decoding) this.#learn("decode", decoded, decoding, this.#slowing());
    const computed = since("prefillTokens");
    const computing = since("prefillSeconds");
    if (computed && computing) this.#learn("prefill", computed, computing, 1);
    const hits = since("prefixHits");
    const queries = since("prefixQueries");
    if (hits === undefined || queries === undefined) return;
    this.#hits = this.#hits * HITS_KEPT + Math.min(hits, queries);
    this.#queries = this.#queries * HITS_KEPT + queries;
  }

  #learn(what: keyof Measured, tokens: number, seconds: number, slowed: number): void {
    const view = this.#alone();
    const believed = what === "prefill" ? prefillRate(view) : decodeRate(view);
    const measured = learnRate(this.#measured, what, tokens, seconds, { slowed, believed });
    if (measured === this.#measured) return;
    this.#measured = measured;
    this.#changed();
  }

  #loadNow(): Load {
    const { running, ...gauges } = this.#gauges?.load ?? {};
    // The gauges, without those of ours that have ended since it said so.
    const ended = Math.max(0, this.#placedThen - this.#placed);
    const prefill = rateOf(this.#measured.prefill);
    const decode = rateOf(this.#measured.decode);
    return {
      placed: this.#placed,
      pendingPrefillTokens: this.#pendingTokens,
      ...gauges,
      ...(running !== undefined && { running: Math.max(0, running - ended) }),
      ...(this.#queries >= LEAST_QUERIES && { prefixHitShare: this.#hits / this.#queries }),
      ...(prefill !== undefined && { prefillTokensPerSecond: prefill }),
      ...(decode !== undefined && { decodeTokensPerSecond: decode }),
      ...(this.#lacksModel && { lacksModel: true }),
    };
  }

  #slowing(): number {
    return slowing(this.#alone());
  }

  /** As it stands, without its distance from anybody. */
  #alone(): BackendView {
    return backendView(this.#backend, undefined, undefined, this.load());
  }

  #limit(): number {
    return this.#backend.maxConcurrent ?? Number.POSITIVE_INFINITY;
  }

  #changed(): void {
    this.#load = undefined;
    this.#view = undefined;
  }
}

/** A new snapshot has new objects of the same rows. */
function isEqual(a: Backend, b: Backend): boolean {
  if (a === b) return true;
  return (Object.keys(a) as (keyof Backend)[]).every((name) => a[name] === b[name]);
}
