/**
 * The answer in OpenAI's shape: chunks of a stream, its tail, and the whole. Usage carries the words of every
 * dialect that clients read, and what the request cost (CLIENTS: usage is in every stream, asked for or not).
 */
import type { Delta, ToolDelta } from "../../dispatch/run.ts";
import { formatUsd, type Nanodollars, type Usage } from "../../money.ts";

export interface Answer {
  readonly id: string;
  readonly model: string;
  /** Unix seconds. */
  readonly created: number;
}

export interface Bill {
  readonly usage: Usage;
  readonly cost: Nanodollars;
}

export const DONE = "data: [DONE]\n\n";

const CHUNK = "chat.completion.chunk";

const event = (data: unknown): string => `data: ${JSON.stringify(data)}\n\n`;

const chunk = (answer: Answer, choices: unknown[]) => ({
  ...answer,
  object: CHUNK,
  choices,
});

/** One choice of a whole answer. */
export interface Message {
  readonly text: string;
  readonly reasoning: string;
  readonly calls: readonly { readonly id: string; readonly name: string; readonly arguments: string }[];
}

/** The first chunk of a choice has the role and no text. */
export function roleChunk(answer: Answer, choice: number): string {
  const delta = { role: "assistant", content: "" };
  return event(chunk(answer, [{ index: choice, delta, finish_reason: null }]));
}

/**
 * Makes the chunks of one answer's deltas: what is the same in all of them is written once, since they come by the
 * hundred.
 */
export function deltaChunks(answer: Answer): (delta: Delta) => string {
  const same = JSON.stringify({ ...answer, object: CHUNK });
  const before = `data: ${same.slice(0, -1)},"choices":[{"index":`;
  return ({ choice, text, reasoning, tool }) => {
    const delta: Record<string, unknown> = {};
    if (text !== undefined) delta.content = text;
    if (reasoning !== undefined) Object.assign(delta, thought(reasoning));
    if (tool) delta.tool_calls = [callDelta(tool)];
    return `${before}${choice},"delta":${JSON.stringify(delta)},"finish_reason":null}]}\n\n`;
  };
}

/** Id, type and name in a call's first delta alone; arguments a string in each. */
function callDelta({ index, id, name, arguments: piece }: ToolDelta) {
  return id === undefined
    ? { index, function: { arguments: piece } }
    : { index, id, type: "function", function: { name, arguments: piece } };
}

/** Under both names that clients look for. */
const thought = (reasoning: string) => ({ reasoning_content: reasoning, reasoning });

/**
 * A finish for each choice, usage (in the place where this client looks for it: the last chunk before the end), and
 * the end. Only ever written on success.
 */
export function tail(
  answer: Answer,
  finishReasons: readonly string[],
  bill: Bill,
  includeUsage: boolean,
): string {
  const finishes = finishReasons.map((reason, index) =>
    chunk(answer, [{ index, delta: {}, finish_reason: reason }]),
  );
  const usage = usageOf(bill);
  const last = finishes.length - 1;
  return includeUsage
    ? finishes.map((finish) => event({ ...finish, usage: null })).join("") +
        event({ ...chunk(answer, []), usage }) +
        DONE
    : finishes.map((finish, at) => event(at === last ? { ...finish, usage } : finish)).join("") + DONE;
}

export function whole(
  answer: Answer,
  messages: readonly Message[],
  finishReasons: readonly string[],
  bill: Bill,
) {
  return {
    ...answer,
    object: "chat.completion",
    choices: messages.map((message, index) => ({
      index,
      message: messageOf(message),
      logprobs: null,
      finish_reason: finishReasons[index],
    })),
    usage: usageOf(bill),
  };
}

function messageOf({ text, reasoning, calls }: Message) {
  const tool_calls = calls.map(({ id, ...call }) => ({ id, type: "function", function: call }));
  return {
    role: "assistant",
    content: calls.length > 0 && text === "" ? null : text,
    refusal: null,
    ...(reasoning !== "" && thought(reasoning)),
    ...(calls.length > 0 && { tool_calls }),
  };
}

export function usageOf({ usage, cost }: Bill) {
  const prompt = usage.input + usage.cachedInput;
  return {
    prompt_tokens: prompt,
    completion_tokens: usage.output,
    total_tokens: prompt + usage.output,
    prompt_tokens_details: { cached_tokens: usage.cachedInput },
    completion_tokens_details: { reasoning_tokens: usage.reasoning },
    cache_read_input_tokens: usage.cachedInput,
    prompt_cache_hit_tokens: usage.cachedInput,
    prompt_cache_miss_tokens: usage.input,
    // A number of USD, as the clients that read it expect; `/v1/generation` has the exact integer.
    cost: Number(formatUsd(cost)),
  };
}
