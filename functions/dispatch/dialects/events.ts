/**
 * What a backend says in a stream, event by event: one `data:` text becomes zero or more engine events. Pure, and
 * trusting nothing: a backend's input is as untrusted as a client's. Its messages are never passed on; some name
 * files of the server.
 */
import type { EngineEvent } from "../run.ts";
import type { Dialect, Path } from "./dialect.ts";
import { meaningOf } from "./refusal.ts";

/** Ends a stream. It is no sign of success: a dying vLLM sends it after its error. */
export const END_OF_STREAM = "[DONE]";

const FINISH_REASONS = new Set(["stop", "length", "content_filter"]);
/** Older servers say the first, newer ones the second, some both with the same text. */
const REASONING = ["reasoning_content", "reasoning"];

/** The events of one `data:` text. The count comes first, so that it covers the text that it came with. */
export function eventsOf(dialect: Dialect, data: string): EngineEvent[] {
  let chunk: unknown;
  try {
    chunk = JSON.parse(data);
  } catch {
    return [broken("the backend sent an event that is not JSON")];
  }
  if (!isObject(chunk)) return [broken("the backend sent an event that is no object")];
  if (isError(chunk)) return [errorOf(dialect, data)];
  const events: EngineEvent[] = [];
  const choices = Array.isArray(chunk.choices) ? chunk.choices.filter(isObject) : [];
  if (isObject(chunk.usage)) events.push(usageOf(dialect, chunk.usage, choices.length === 0));
  // One answer was asked for: what belongs to another is not ours.
  const choice = choices.find((candidate) => (candidate.index ?? 0) === 0);
  if (choice) {
    const delta = isObject(choice.delta) ? choice.delta : {};
    const reasoning = REASONING.map((name) => delta[name]).find(isText);
    if (reasoning) events.push({ type: "delta", reasoning });
    if (isText(delta.content)) events.push({ type: "delta", text: delta.content });
    const reason = choice.finish_reason;
    if (typeof reason === "string") {
      events.push(
        FINISH_REASONS.has(reason)
          ? { type: "finish", reason }
          : broken("the backend ended with an unknown reason"),
      );
    }
  }
  return events;
}

/** The error in an event that is one by its shape, or by the name of its event. */
export function errorOf(dialect: Dialect, data: string): EngineEvent {
  return {
    type: "error",
    message: "the backend reported an error",
    means: meaningOf(dialect, codeIn(data), data),
  };
}

/** OpenAI's envelope, SGLang's flat shape, and what FastAPI itself says. */
function isError(chunk: Record<string, unknown>): boolean {
  return Boolean(chunk.error) || chunk.object === "error" || ("detail" in chunk && !("choices" in chunk));
}

/** The status that an error names, in whichever shape; 0 where it names none. */
function codeIn(data: string): number {
  try {
    const chunk: unknown = JSON.parse(data);
    const error = isObject(chunk) && isObject(chunk.error) ? chunk.error : chunk;
    const code = isObject(error) ? Number(error.code) : 0;
    return Number.isInteger(code) ? code : 0;
  } catch {
    return 0;
  }
}

function usageOf(dialect: Dialect, said: Record<string, unknown>, final: boolean): EngineEvent {
  return {
    type: "usage",
    final,
    claimed: {
      promptTokens: said.prompt_tokens,
      completionTokens: said.completion_tokens,
      cachedTokens: first(said, dialect.cachedTokens),
      reasoningTokens: first(said, dialect.reasoningTokens),
    },
  };
}

/** What stands at the first of these paths that leads to something. */
function first(said: Record<string, unknown>, paths: readonly Path[]): unknown {
  for (const path of paths) {
    let value: unknown = said;
    for (const name of path) value = isObject(value) ? value[name] : undefined;
    if (value !== undefined && value !== null) return value;
  }
  return undefined;
}

function broken(message: string): EngineEvent {
  return { type: "error", message };
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
