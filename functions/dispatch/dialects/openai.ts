/**
 * What a server that is compatible with OpenAI's chat completions says, event by event: one `data:` text becomes
 * zero or more engine events. Pure, and trusting nothing: a backend's input is as untrusted as a client's.
 */
import type { EngineEvent } from "../run.ts";

export const END_OF_STREAM = "[DONE]";

const FINISH_REASONS = new Set(["stop", "length", "content_filter"]);

export function eventsOf(data: string): EngineEvent[] {
  let chunk: Record<string, unknown>;
  try {
    chunk = JSON.parse(data);
  } catch {
    return [{ type: "error", message: "the backend sent an event that is not JSON" }];
  }
  if (typeof chunk !== "object" || chunk === null)
    return [{ type: "error", message: "the backend sent an event that is no object" }];
  if (chunk.error || chunk.object === "error")
    return [{ type: "error", message: "the backend reported an error" }];
  const events: EngineEvent[] = [];
  const choice = Array.isArray(chunk.choices) ? chunk.choices[0] : undefined;
  if (choice && typeof choice === "object") {
    const text = choice.delta?.content;
    if (typeof text === "string" && text !== "") events.push({ type: "delta", text });
    const reason = choice.finish_reason;
    if (typeof reason === "string") {
      events.push(
        FINISH_REASONS.has(reason)
          ? { type: "finish", reason }
          : { type: "error", message: "the backend ended with an unknown reason" },
      );
    }
  }
  const usage = chunk.usage;
  if (typeof usage === "object" && usage !== null) {
    const said = usage as Record<string, unknown>;
    events.push({
      type: "usage",
      claimed: {
        promptTokens: said.prompt_tokens,
        completionTokens: said.completion_tokens,
        cachedTokens: field(said.prompt_tokens_details, "cached_tokens"),
        reasoningTokens: field(said.completion_tokens_details, "reasoning_tokens"),
      },
    });
  }
  return events;
}

function field(object: unknown, name: string): unknown {
  return typeof object === "object" && object !== null
    ? (object as Record<string, unknown>)[name]
    : undefined;
}
