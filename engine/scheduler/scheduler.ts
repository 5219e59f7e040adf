/**
 * Who computes next. Sequences wait in a bounded queue, run at most `maxSequences` at a time, and take turns: one
 * turn is one chunk of a prefill or one token. Between turns the event loop runs, so an abort, a new request or a
 * question about an attempt is seen within one turn. With nothing to do, nothing runs.
 */
import { strict as assert } from "node:assert";
import type { LatentCache, SequenceCache } from "../cache/latent.ts";
import type { Sequence, SequenceEnd } from "./sequence.ts";

/** What the scheduler needs of a model. */
export interface LanguageModel {
  forward(tokens: readonly number[], cache: SequenceCache, wanted: "last" | "none"): Float32Array;
}

export interface SchedulerLimits {
  readonly maxSequences: number;
  readonly maxQueue: number;
  /** The most tokens of a prompt that one turn computes: enough to use each weight often, few enough to wait for. */
  readonly prefillTokens: number;
}

/** Where attending to the tokens before costs about as much as all else, for a model of the size shipped here. */
const attentionDoublesCostAt = 1_000;
/** Below this a chunk reads the weights too often for what it computes. */
const leastPrefillTokens = 16;

const eventLoopTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

export class Scheduler {
  readonly #model: LanguageModel;
  readonly #cache: LatentCache;
  readonly #limits: SchedulerLimits;
  readonly #betweenTurns: () => Promise<void>;
  readonly #queue: Sequence[] = [];
  /** In the order of their turns. */
  readonly #running: Sequence[] = [];
  #looping = false;

  /** `betweenTurns` is awaited before each turn; tests let turns happen one by one with it. */
  constructor(
    model: LanguageModel,
    cache: LatentCache,
    limits: SchedulerLimits,
    betweenTurns: () => Promise<void> = eventLoopTurn,
  ) {
    this.#model = model;
    this.#cache = cache;
    this.#limits = limits;
    this.#betweenTurns = betweenTurns;
  }

  get running(): number {
    return this.#running.length;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  /** Whether one more request may be submitted now. */
  get hasRoom(): boolean {
    return this.#queue.length < this.#limits.maxQueue;
  }

  /** Queues a request's sequences. The caller has asked hasRoom, and each fits the cache when it is alone. */
  submit(...sequences: readonly Sequence[]): void {
    assert(this.hasRoom);
    for (const sequence of sequences) {
      assert(sequence.state === "new" && sequence.prompt.length > 0 && sequence.maxTokens > 0);
      assert(
        sequence.prompt.length + sequence.maxTokens - 1 <= this.#cache.maxTokens,
        "the sequence can never fit the cache",
      );
      sequence.state = "queued";
      this.#queue.push(sequence);
    }
    if (!this.#looping) void this.#loop();
  }

  /** Ends a sequence where it stands. On one that has ended: nothing. */
  abort(sequence: Sequence): void {
    if (sequence.state === "queued" || sequence.state === "running") this.#end(sequence, { kind: "aborted" });
  }

  async #loop(): Promise<void> {
    this.#looping = true;
    try {
      while (this.#queue.length > 0 || this.#running.length > 0) {
        await this.#betweenTurns();
        this.#startWaiting();
        const sequence = this.#running.shift();
        if (!sequence) continue; // aborted meanwhile
        this.#running.push(sequence);
        this.#turn(sequence);
      }
    } finally {
      this.#looping = false;
    }
  }

  /** In order of arrival: a long one at the head waits for its memory rather than being overtaken for ever. */
  #startWaiting(): void {
    for (let at = 0; at < this.#queue.length && this.#running.length < this.#limits.maxSequences; ) {
      const sequence = this.#queue[at];
      if (sequence.after && !sequence.after.isPrefilled) {
        at++;
        continue;
      }
      // The last token that is sampled is never computed further, so it needs no place.
      const cache = this.#cache.open(sequence.prompt.length + sequence.maxTokens - 1, sequence.prefix);
      if (!cache) return;
      this.#queue.splice(at, 1);
      sequence.cache = cache;
      sequence.prefilledTokens = cache.foundTokens;
      sequence.state = "running";
      this.#running.push(sequence);
    }
  }

  #turn(sequence: Sequence): void {
    try {
      if (!sequence.started) {
        sequence.started = true;
        sequence.listener.onStart(sequence.prefilledTokens);
      }
      const logits = this.#forward(sequence);
      if (!logits) return;
      const token = sequence.sampler.sample(logits);
      sequence.lastToken = token;
      sequence.sampledTokens++;
      const answer = sequence.listener.onToken(token);
      if (sequence.state !== "running") return; // its listener aborted it
      if (answer === "stop" || sequence.endTokens.has(token)) {
        this.#end(sequence, { kind: "finished", reason: "stop" });
      } else if (sequence.sampledTokens === sequence.maxTokens) {
        this.#end(sequence, { kind: "finished", reason: "length" });
      }
    } catch (error) {
      // A bug, or a model that gives no numbers: this sequence fails, the others go on.
      this.#end(sequence, { kind: "failed", error });
    }
  }

  /** Logits to sample from, or nothing while the prompt is not through. */
  #forward(sequence: Sequence): Float32Array | undefined {
    const { prompt, cache } = sequence;
    assert(cache);
    if (sequence.prefilledTokens === prompt.length)
      return this.#model.forward([sequence.lastToken], cache, "last");
    const from = sequence.prefilledTokens;
    const chunk = prompt.slice(from, from + this.#chunkTokens(from));
    sequence.prefilledTokens += chunk.length;
    const whole = sequence.prefilledTokens === prompt.length;
    const logits = this.#model.forward(chunk, cache, whole ? "last" : "none");
    return whole ? logits : undefined;
  }

  /** Fewer tokens the more come before them, so that turns take about as long all through a long prompt. */
  #chunkTokens(before: number): number {
    const { prefillTokens } = this.#limits;
    const evened = Math.round(prefillTokens / (1 + before / attentionDoublesCostAt));
    return Math.min(prefillTokens, Math.max(leastPrefillTokens, evened));
  }

  #end(sequence: Sequence, end: SequenceEnd): void {
    if (sequence.state === "ended") return;
    const list = sequence.state === "queued" ? this.#queue : this.#running;
    const index = list.indexOf(sequence);
    if (index >= 0) list.splice(index, 1);
    sequence.state = "ended";
    sequence.cache?.close();
    sequence.cache = undefined;
    sequence.listener.onEnd(end);
  }
}
