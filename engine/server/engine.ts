/** One engine process: its model once that is loaded, its attempts, and whether it takes new ones. */
import { strict as assert } from "node:assert";
import { randomBytes } from "node:crypto";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { LatentCache } from "../cache/latent.ts";
import { CheckpointError } from "../checkpoint/error.ts";
import { openOps } from "../kernels/ops.ts";
import type { Ops, Precision } from "../layers/ops.ts";
import { DeepseekV3 } from "../models/deepseek-v3.ts";
import { loadDeepseekV3 } from "../models/deepseek-v3-weights.ts";
import { Scheduler } from "../scheduler/scheduler.ts";
import { ChatTemplate } from "../tokenizer/chat-template.ts";
import { Tokenizer } from "../tokenizer/tokenizer.ts";
import { type ToolTokens, toolTokensOf } from "../tool-calls/tokens.ts";
import { Attempts } from "./attempts.ts";
import { ApiError } from "./error.ts";
import { Metrics } from "./metrics.ts";

export interface LoadedModel {
  /** The id that requests name. */
  readonly name: string;
  /** Tokens of prompt and answer together. */
  readonly contextLength: number;
  readonly endTokens: ReadonlySet<number>;
  readonly defaultTemperature: number;
  readonly defaultTopP: number;
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate;
  /** Nothing where the model does not know how to call tools. */
  readonly toolTokens: ToolTokens | undefined;
  readonly cache: LatentCache;
  readonly scheduler: Scheduler;
  readonly ops: Ops;
}

export interface LoadSettings {
  readonly folder: string;
  readonly name: string | undefined;
  readonly maxSequences: number;
  readonly maxQueue: number;
  readonly cacheBytes: number;
  readonly weights: Precision;
  readonly variant?: string | undefined;
  readonly threads: number;
}

/** Tokens of prompts in a step: an abort waits no longer than they take. */
const prefillTokens = 256;

/** Errors: CheckpointError; RangeError for a variant that this processor does not run. */
export async function loadModel(
  settings: LoadSettings,
  progress: (read: number, total: number) => void = () => {},
  betweenSteps?: () => Promise<void>,
): Promise<LoadedModel> {
  const { folder } = settings;
  const isFolder = await stat(folder).then(
    (status) => status.isDirectory(),
    () => false,
  );
  if (!isFolder) throw new CheckpointError("missing", folder, "is not a folder");
  const opening = openOps(settings);
  // Awaited below; until then a failure of its own is nobody's.
  opening.catch(() => {});
  try {
    // While the threads start.
    const tokenizer = await Tokenizer.load(folder);
    const template = await ChatTemplate.load(folder);
    const ops = await opening;
    const { model, cache } = await openModel(settings, ops, progress);
    const { config } = model;
    if (tokenizer.size > config.vocabSize) {
      const sizes = `has ${tokenizer.size} tokens, the model's vocabulary ${config.vocabSize}`;
      throw new CheckpointError("corrupt", join(folder, "tokenizer.json"), sizes);
    }
    return {
      name: settings.name ?? config.name ?? folder.split(/[\\/]/).findLast(Boolean) ?? "model",
      contextLength: Math.min(config.maxPositions, cache.maxTokens),
      endTokens: new Set(config.endTokens),
      defaultTemperature: config.defaultTemperature,
      defaultTopP: config.defaultTopP,
      tokenizer,
      template,
      toolTokens: toolTokensOf(tokenizer),
      cache,
      scheduler: new Scheduler(model, cache, { ...settings, prefillTokens }, betweenSteps),
      ops,
    };
  } catch (error) {
    opening.then(
      (ops) => ops.close(),
      () => {},
    );
    throw error;
  }
}

async function openModel(
  { folder, cacheBytes, maxSequences }: LoadSettings,
  ops: Ops,
  progress: (read: number, total: number) => void,
): Promise<{ model: DeepseekV3; cache: LatentCache }> {
  const { config, weights } = await loadDeepseekV3(folder, ops, progress);
  try {
    const limits = { maxTokens: prefillTokens + maxSequences, maxLogits: maxSequences };
    const model = new DeepseekV3(config, weights, ops, limits);
    const cache = new LatentCache(config, cacheBytes, ops);
    if (cache.maxTokens < 2)
      throw new CheckpointError("too_large", folder, `needs a cache of more than ${cacheBytes} bytes`);
    warmUp(model, cache);
    return { model, cache };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new CheckpointError("too_large", folder, `does not fit the memory (${error.message})`);
  }
}

/** Takes all memory and compiles what steps need, so that the first request waits for neither. */
function warmUp(model: DeepseekV3, cache: LatentCache): void {
  const most = Math.min(9, cache.maxTokens, model.config.maxPositions);
  const sequence = cache.open(most);
  assert(sequence);
  model.forward([{ tokens: new Array(most - 1).fill(0), cache: sequence, wanted: "last" }], cache);
  model.forward([{ tokens: [0], cache: sequence, wanted: "last" }], cache);
  sequence.close();
}

export class Engine {
  readonly region: string;
  readonly bootId: string = randomBytes(12).toString("hex");
  readonly attempts: Attempts;
  readonly metrics: Metrics = new Metrics();
  readonly now: () => number;
  #model: LoadedModel | undefined;
  #draining = false;

  /** now: milliseconds of a clock that does not go back. */
  constructor(region: string, now: () => number = () => performance.now()) {
    this.region = region;
    this.now = now;
    this.attempts = new Attempts(this.bootId, now);
  }

  get status(): "loading" | "ok" | "draining" {
    if (this.#draining) return "draining";
    return this.#model ? "ok" : "loading";
  }

  get model(): LoadedModel | undefined {
    return this.#model;
  }

  serve(model: LoadedModel): void {
    this.#model = model;
    this.attempts.model = model.name;
  }

  /** The model, for a new attempt. Errors: ApiError 503 while there is none or it takes no more. */
  serving(): LoadedModel {
    if (this.#draining) {
      throw new ApiError(503, "draining", "This engine is shutting down.", { retryAfterSeconds: 1 });
    }
    if (!this.#model)
      throw new ApiError(503, "loading", "The model is being loaded.", { retryAfterSeconds: 1 });
    return this.#model;
  }

  /** Takes no new attempts; resolves when none is open, those still open after `milliseconds` aborted. */
  async drain(milliseconds: number): Promise<void> {
    this.#draining = true;
    const ends = [...this.attempts.open()].map(
      (attempt) => new Promise<void>((resolve) => attempt.whenEnded.add(resolve)),
    );
    const timer = setTimeout(() => {
      const problem = {
        code: "shutting_down",
        message: "The engine shut down before the answer was complete.",
      };
      for (const attempt of [...this.attempts.open()]) attempt.abort(problem);
    }, milliseconds);
    await Promise.all(ends);
    clearTimeout(timer);
  }
}
