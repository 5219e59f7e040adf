/**
 * One answer being made: a prompt, how to sample, when to stop, and whom to tell. What its tokens mean as text is
 * its listener's business; the scheduler moves it from queued to running to ended, once.
 */
import type { SequenceCache } from "../cache/latent.ts";
import { Prefix } from "../cache/prefix.ts";
import type { Sampler } from "../sampling/sampler.ts";

export type SequenceEnd =
  | { readonly kind: "finished"; readonly reason: "stop" | "length" }
  | { readonly kind: "aborted" }
  | { readonly kind: "failed"; readonly error: unknown };

export interface SequenceListener {
  /** Prefill begins, after the tokens that were in the cache. */
  onStart(cachedTokens: number): void;
  /** A token was sampled, end-of-sequence tokens too. "stop" ends the answer here. */
  onToken(token: number): "continue" | "stop";
  /** Called once, whatever happened. Nothing is called after it. */
  onEnd(end: SequenceEnd): void;
}

export class Sequence {
  readonly prompt: readonly number[];
  /** At least 1; prompt.length + maxTokens is at most the model's context. */
  readonly maxTokens: number;
  readonly endTokens: ReadonlySet<number>;
  readonly sampler: Sampler;
  /** What of the prompt may come from the cache, and whose it is. */
  readonly prefix: Prefix;
  readonly listener: SequenceListener;
  /** Starts only when this one's prompt, the same, has been computed: it finds that in the cache. */
  readonly after: Sequence | undefined;

  /** For the scheduler. */
  cache: SequenceCache | undefined;
  started = false;
  /** Tokens of the prompt that are in the cache, found there or computed. */
  prefilledTokens = 0;
  sampledTokens = 0;
  lastToken = -1;
  state: "new" | "queued" | "running" | "ended" = "new";

  constructor(options: {
    prompt: readonly number[];
    maxTokens: number;
    endTokens: ReadonlySet<number>;
    sampler: Sampler;
    cacheSalt: string;
    listener: SequenceListener;
    after?: Sequence | undefined;
  }) {
    this.prompt = options.prompt;
    this.maxTokens = options.maxTokens;
    this.endTokens = options.endTokens;
    this.sampler = options.sampler;
    this.prefix = new Prefix(options.cacheSalt, options.prompt);
    this.listener = options.listener;
    this.after = options.after;
  }

  /** Tokens of the prompt that are yet to be computed. */
  get unfilledTokens(): number {
    return this.prompt.length - this.prefilledTokens;
  }

  /** Whether all of its prompt has been computed, or never will be. */
  get isPrefilled(): boolean {
    return this.state === "ended" || this.prefilledTokens === this.prompt.length;
  }
}
