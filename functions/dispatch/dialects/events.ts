/**
 * What a backend says in a stream, event by event: one `data:` text becomes zero or more engine events. It trusts
 * nothing: a backend's input is as untrusted as a client's. Its messages are never passed on; some name files of the
 * server.
 */
import { type EngineEvent, FINISH_REASONS, type FinishReason } from "../run.ts";
import { Calls } from "./calls.ts";
import type { Dialect, Path } from "./dialect.ts";
import { meaningOf } from "./refusal.ts";

/** Ends a stream. It is no sign of success: a dying vLLM sends it after its error. */
export const END_OF_STREAM = "[DONE]";

/** Older servers say the first, newer ones the second, some both with the same text. */
const REASONING = ["reasoning_content", "reasoning"];

/** One stream's events, and what must be known of each of its choices to make them. */
export class Events {
  readonly #dialect: Dialect;
  readonly #choices: readonly { readonly calls: Calls; isFinished: boolean }[];

  /** choices: how many answers were asked for; what belongs to another is not ours. */
  constructor(dialect: Dialect, choices: number) {
    this.#dialect = dialect;
    this.#choices = Array.from({ length: choices }, () => ({ calls: new Calls(), isFinished: false }));
  }

  /** Whether every choice has its finish. */
  get areFinished(): boolean {
    return this.#choices.every(({ isFinished }) => isFinished);
  }

  /** The events of one `data:` text. The count comes first, so that it covers what it came with. */
  of(data: string): EngineEvent[] {
    let chunk: unknown;
    try {
      chunk = JSON.parse(data);
    } catch {
      return [broken("the backend sent an event that is not JSON")];
    }
    if (!isObject(chunk)) return [broken("the backend sent an event that is no object")];
    if (isError(chunk)) return [errorOf(this.#dialect, data)];
    const choices = Array.isArray(chunk.choices) ? chunk.choices.filter(isObject) : [];
    const events = choices.flatMap((choice) => this.#ofChoice(choice));
    if (!isObject(chunk.usage)) return events;
    const covers = events.filter(({ type }) => type === "delta").length;
    return [this.#usageOf(chunk.usage, choices, covers), ...events];
  }

  #ofChoice(said: Record<string, unknown>): EngineEvent[] {
    const index = said.index ?? 0;
    const choice = typeof index === "number" ? this.#choices[index] : undefined;
    if (typeof index !== "number" || !choice) return [];
    const delta = isObject(said.delta) ? said.delta : {};
    const events: EngineEvent[] = [];
    const reasoning = REASONING.map((name) => delta[name]).find(isText);
    if (reasoning) events.push({ type: "delta", choice: index, reasoning });
    if (isText(delta.content)) events.push({ type: "delta", choice: index, text: delta.content });
    for (const called of Array.isArray(delta.tool_calls) ? delta.tool_calls.filter(isObject) : []) {
      const tool = choice.calls.take(called);
      if (tool) events.push({ type: "delta", choice: index, tool });
    }
    if (typeof said.finish_reason !== "string" || choice.isFinished) return events;
    choice.isFinished = true;
    return [...events, finishOf(index, said.finish_reason, choice.calls)];
  }

  #usageOf(
    said: Record<string, unknown>,
    choices: readonly Record<string, unknown>[],
    covers: number,
  ): EngineEvent {
    const index = choices[0]?.index ?? 0;
    return {
      type: "usage",
      final: choices.length === 0,
      // A running count is of the choice that it stands on.
      ...(this.#dialect.runningCounts && choices.length > 0 && { choice: Number(index) }),
      covers,
      claimed: {
        promptTokens: said.prompt_tokens,
        completionTokens: said.completion_tokens,
        cachedTokens: first(said, this.#dialect.cachedTokens),
        reasoningTokens: first(said, this.#dialect.reasoningTokens),
      },
    };
  }
}

/** An answer that calls ends with `tool_calls`, whatever else a server calls a normal end of it. */
function finishOf(choice: number, said: string, calls: Calls): EngineEvent {
  const reason = said === "function_call" ? "tool_calls" : said;
  if (!isFinishReason(reason)) return broken("the backend ended with an unknown reason");
  if (!calls.areNamed) return broken("the backend called a tool and did not name it");
  if (reason === "length" || reason === "content_filter") return { type: "finish", choice, reason };
  return { type: "finish", choice, reason: calls.count > 0 ? "tool_calls" : "stop" };
}

function isFinishReason(reason: string): reason is FinishReason {
  return (FINISH_REASONS as readonly string[]).includes(reason);
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
