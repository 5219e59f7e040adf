/**
 * Continuous batching. Sequences wait in a bounded queue and run at most `maxSequences` at a time; each step is one
 * forward pass of the next token of every running sequence and a chunk of the prompts that are not through (plan.ts).
 * Who comes joins at the next step, who ends leaves at once. Between steps the event loop runs, so an abort, a new
 * request or a question about an attempt is seen within one step. With nothing to do, nothing runs.
 */
import { strict as assert } from "node:assert";
import type { LatentCache } from "../cache/latent.ts";
import type { Part, StepReport } from "../models/step.ts";
import { type Planned, planStep } from "./plan.ts";
import type { Sequence, SequenceEnd } from "./sequence.ts";

/** What the scheduler needs of a model. */
export interface LanguageModel {
  readonly attentionDoublesCostAt: number;
  /** What the last forward() cost. */
  readonly lastStep: StepReport;
  forward(parts: readonly Part[], cache: LatentCache): Float32Array[];
}

export interface SchedulerLimits {
  readonly maxSequences: number;
  readonly maxQueue: number;
  /** The most tokens of prompts that one step computes: enough to use each weight often, few enough to wait for. */
  readonly prefillTokens: number;
}

const eventLoopTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

export class Scheduler {
  readonly #model: LanguageModel;
  readonly #cache: LatentCache;
  readonly #limits: SchedulerLimits;
  readonly #betweenSteps: () => Promise<void>;
  readonly #queue: Sequence[] = [];
  /** In order of arrival. */
  readonly #running: Sequence[] = [];
  #looping = false;
  /** Of all steps so far. Tokens are those of prompts and answers; weight bytes are distinct within a step. */
  readonly totals = { steps: 0, tokens: 0, weightBytes: 0 };

  /** `betweenSteps` is awaited before each step; tests let steps happen one by one with it. */
  constructor(
    model: LanguageModel,
    cache: LatentCache,
    limits: SchedulerLimits,
    betweenSteps: () => Promise<void> = eventLoopTurn,
  ) {
    this.#model = model;
    this.#cache = cache;
    this.#limits = limits;
    this.#betweenSteps = betweenSteps;
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
        await this.#betweenSteps();
        this.#startWaiting();
        const { prefillTokens } = this.#limits;
        const planned = planStep(this.#running, prefillTokens, this.#model.attentionDoublesCostAt);
        if (planned.length > 0) this.#step(planned);
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

  #step(planned: readonly Planned[]): void {
    const started = planned.filter(({ sequence }) => this.#start(sequence));
    if (started.length === 0) return;
    let logits: Float32Array[];
    try {
      logits = this.#model.forward(started.map(partOf), this.#cache);
    } catch (error) {
      // A bug: what is in these caches now is not known.
      for (const { sequence } of started) this.#end(sequence, { kind: "failed", error });
      return;
    }
    this.totals.steps++;
    this.totals.tokens += this.#model.lastStep.tokens;
    this.totals.weightBytes += this.#model.lastStep.weightBytes;
    for (const [i, { sequence, tokens }] of started.entries()) {
      if (!sequence.isPrefilled) sequence.prefilledTokens += tokens;
      if (logits[i].length > 0) this.#sample(sequence, logits[i]);
    }
  }

  /** Whether it still runs. */
  #start(sequence: Sequence): boolean {
    if (sequence.started || sequence.state !== "running") return sequence.state === "running";
    sequence.started = true;
    return this.#attempt(sequence, () => sequence.listener.onStart(sequence.prefilledTokens));
  }

  #sample(sequence: Sequence, logits: Float32Array): void {
    if (sequence.state !== "running") return; // a listener before it in the step aborted it
    this.#attempt(sequence, () => {
      const token = sequence.sampler.sample(logits);
      sequence.lastToken = token;
      sequence.sampledTokens++;
      const answer = sequence.listener.onToken(token);
      if (sequence.state !== "running") return; // its own listener aborted it
      if (answer === "stop" || sequence.endTokens.has(token)) {
        this.#end(sequence, { kind: "finished", reason: "stop" });
      } else if (sequence.sampledTokens === sequence.maxTokens) {
        this.#end(sequence, { kind: "finished", reason: "length" });
      }
    });
  }

  /** Where it throws (a bug, or a model that gives no numbers) this sequence fails, and the others go on. */
  #attempt(sequence: Sequence, action: () => void): boolean {
    try {
      action();
    } catch (error) {
      this.#end(sequence, { kind: "failed", error });
    }
    return sequence.state === "running";
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

function partOf({ sequence, tokens }: Planned): Part {
  const { prompt, prefilledTokens: from, cache } = sequence;
  assert(cache, "a running sequence has its cache");
  if (sequence.isPrefilled) return { tokens: [sequence.lastToken], cache, wanted: "last" };
  const whole = from + tokens === prompt.length;
  return { tokens: prompt.slice(from, from + tokens), cache, wanted: whole ? "last" : "none" };
}
