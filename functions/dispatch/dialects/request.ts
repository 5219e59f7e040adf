/**
 * What goes to a backend. Only the fields written here ever do: no chat template, no logit processor, no adapter,
 * and no cache salt but the edge's own.
 */
import { sha256 } from "../../auth/key.ts";
import type { AccountId, AttemptId } from "../../ids.ts";
import type { ChatMessage } from "../../surfaces/openai/messages.ts";
import type { ChatRequest, OptionalField } from "../../surfaces/openai/schema.ts";
import type { Dialect } from "./dialect.ts";

export interface Asked {
  readonly request: ChatRequest;
  /** The name by which the backend knows the model. */
  readonly servedAs: string;
  /** Of each answer. Always sent: nothing may be generated past the hold. */
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
    messages: messagesFor(request.messages),
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
    ...(request.n > 1 && { n: request.n }),
    ...(request.presencePenalty !== undefined && { presence_penalty: request.presencePenalty }),
    ...(request.frequencyPenalty !== undefined && { frequency_penalty: request.frequencyPenalty }),
    ...optional(dialect, request),
    ...toolFields(request),
    ...placed(dialect, asked, "field"),
  };
}

/** A request comes only to a dialect that serves all that it needs (serves.ts). */
function optional(dialect: Dialect, request: ChatRequest): Partial<Record<OptionalField, unknown>> {
  const asked: Record<OptionalField, unknown> = {
    top_k: request.topK,
    min_p: request.minP,
    repetition_penalty: request.repetitionPenalty,
    response_format: request.responseFormat,
  };
  const told = request.needs.filter((field) => dialect.serves.includes(field));
  return Object.fromEntries(told.map((field) => [field, asked[field]]));
}

function toolFields({ tools, toolChoice, parallelToolCalls }: ChatRequest): Record<string, unknown> {
  if (tools.length === 0) return {};
  const choice =
    typeof toolChoice === "object" ? { type: "function", function: { name: toolChoice.name } } : toolChoice;
  return {
    tools,
    ...(choice !== "auto" && { tool_choice: choice }),
    ...(!parallelToolCalls && { parallel_tool_calls: false }),
  };
}

function messagesFor(messages: readonly ChatMessage[]): Record<string, unknown>[] {
  // A model that thinks refuses a call without its thoughts; where a client kept some and lost others, these are none.
  const thinks = messages.some(({ reasoning }) => reasoning !== undefined);
  return messages.map(({ role, content, name, reasoning, toolCalls, toolCallId }) => {
    const thought = reasoning ?? (thinks && toolCalls ? "" : undefined);
    return {
      // The same under its older name, which every template knows.
      role: role === "developer" ? "system" : role,
      content: toolCalls && content === "" ? null : content,
      ...(name !== undefined && { name }),
      ...(thought !== undefined && { reasoning_content: thought }),
      ...(toolCalls && {
        tool_calls: toolCalls.map(({ id, ...call }) => ({ id, type: "function", function: call })),
      }),
      ...(toolCallId !== undefined && { tool_call_id: toolCallId }),
    };
  });
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
