/**
 * One answer being made: a prompt, how to sample, when to stop, and whom to tell. What its tokens mean as text is
 * its listener's business; the scheduler moves it from queued to running to ended, once.
 */
import type { SequenceCache } from "../cache/latent.ts";
import type { Sampler } from "../sampling/sampler.ts";

export type SequenceEnd =
  | { readonly kind: "finished"; readonly reason: "stop" | "length" }
  | { readonly kind: "aborted" }
  | { readonly kind: "failed"; readonly error: unknown };

export interface SequenceListener {
  /** Prefill begins. */
  onStart(): void;
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
  /** Separates prefix caches by account; nothing is shared yet. */
  readonly cacheSalt: string;
  readonly listener: SequenceListener;

  /** For the scheduler. */
  cache: SequenceCache | undefined;
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
  }) {
    this.prompt = options.prompt;
    this.maxTokens = options.maxTokens;
    this.endTokens = options.endTokens;
    this.sampler = options.sampler;
    this.cacheSalt = options.cacheSalt;
    this.listener = options.listener;
  }
}
