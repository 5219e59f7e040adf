/**
 * What a backend's health and its list of models say: pure readers of answers, for whoever asks. How to ask is in
 * the dialect (`health`). Never throws: what cannot be read says nothing good.
 */
import type { Dialect, HealthState } from "../dispatch/dialects/dialect.ts";

export interface Health {
  readonly state: HealthState;
  /** False: `up` only says that something answers. A backend that just refused as draining is still draining. */
  readonly certain: boolean;
  /** Where its health tells: attempts that run and wait, and which life of the process this is. */
  readonly running?: number;
  readonly waiting?: number;
  readonly bootId?: string;
}

/** Of a list that is longer, nothing is said of what it lacks. */
export const MAX_MODELS = 1_000;

/** Reads an answer to the dialect's health request. No answer within its `limitMs` is the caller's `down`. */
export function readHealth({ health }: Dialect, status: number, text: string): Health {
  const byStatus = health.statuses[status] ?? "down";
  if (byStatus !== "up" || !health.words) {
    return { state: byStatus, certain: byStatus !== "up" || health.proves };
  }
  const said = parse(text);
  const word = typeof said.status === "string" ? said.status : "";
  const running = whole(said.running);
  const waiting = whole(said.waiting);
  return {
    state: Object.hasOwn(health.words, word) ? health.words[word]! : "down",
    certain: health.proves,
    ...(running !== undefined && { running }),
    ...(waiting !== undefined && { waiting }),
    ...(typeof said.boot_id === "string" && { bootId: said.boot_id }),
  };
}

export interface ServedModel {
  readonly id: string;
  /** Tokens of prompt and answer together, where the server says. */
  readonly contextLength?: number;
}

/** Reads `/v1/models`: all dialects have it. SGLang answers for models that it lacks, so only this list tells. */
export function readModels(text: string): readonly ServedModel[] {
  const { data } = parse(text);
  if (!Array.isArray(data)) return [];
  return data.slice(0, MAX_MODELS).flatMap((entry: unknown) => {
    if (!isObject(entry) || typeof entry.id !== "string") return [];
    const contextLength = whole(entry.max_model_len);
    return [{ id: entry.id, ...(contextLength !== undefined && { contextLength }) }];
  });
}

function parse(text: string): Record<string, unknown> {
  try {
    const said: unknown = JSON.parse(text);
    return isObject(said) ? said : {};
  } catch {
    return {};
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function whole(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : undefined;
}
