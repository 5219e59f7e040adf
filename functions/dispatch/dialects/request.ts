/**
 * What goes to a backend. Only the fields written here ever do: no chat template, no logit processor, no adapter,
 * and no cache salt but the edge's own.
 */
import { sha256 } from "../../auth/key.ts";
import type { AccountId, AttemptId } from "../../ids.ts";
import type { ChatRequest } from "../../surfaces/openai/schema.ts";
import type { Dialect } from "./dialect.ts";

export interface Asked {
  readonly request: ChatRequest;
  /** The name by which the backend knows the model. */
  readonly servedAs: string;
  /** Always sent: nothing may be generated past the hold. */
  readonly maxOutput: number;
  readonly salt: string;
  readonly attempt: AttemptId;
  /** Its bytes go to the client as they are: the edge writes the usage itself. */
  readonly relayed: boolean;
}

/** Separates an account's prefix cache from all others', without naming the account to the backend. */
export function cacheSalt(account: AccountId): Promise<string> {
  return sha256(`prefix cache of ${account}`);
}

/** The body, to be serialised once. Also a whole answer is asked for as a stream: one way of counting for both. */
export function requestBody(dialect: Dialect, asked: Asked): Record<string, unknown> {
  const { request } = asked;
  return {
    model: asked.servedAs,
    messages: request.messages,
    stream: true,
    ...(!asked.relayed && {
      stream_options: {
        include_usage: true,
        ...(dialect.runningCounts && { continuous_usage_stats: true }),
      },
    }),
    max_tokens: asked.maxOutput,
    ...(request.stop.length > 0 && { stop: request.stop }),
    ...(request.seed !== undefined && { seed: request.seed }),
    ...(request.temperature !== undefined && { temperature: request.temperature }),
    ...(request.topP !== undefined && { top_p: request.topP }),
    ...placed(dialect, asked, "field"),
  };
}

/** The headers that are the dialect's own. */
export function requestHeaders(dialect: Dialect, asked: Asked): Record<string, string> {
  return placed(dialect, asked, "header");
}

function placed(
  { cacheSalt, attemptId }: Dialect,
  asked: Asked,
  kind: "field" | "header",
): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [place, value] of [
    [cacheSalt, asked.salt],
    [attemptId, asked.attempt],
  ] as const) {
    const name = place && (place as Partial<Record<typeof kind, string>>)[kind];
    if (name) out[name] = value;
  }
  return out;
}
