/**
 * The answer in OpenAI's shape: chunks of a stream, its tail, and the whole. Usage carries the words of every
 * dialect that clients read, and what the request cost (CLIENTS: usage is in every stream, asked for or not).
 */
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

const event = (data: unknown): string => `data: ${JSON.stringify(data)}\n\n`;

const chunk = (answer: Answer, choices: unknown[]) => ({
  ...answer,
  object: "chat.completion.chunk",
  choices,
});

/** The first chunk has the role and no text. */
export function roleChunk(answer: Answer): string {
  return event(chunk(answer, [{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }]));
}

export function textChunk(answer: Answer, text: string): string {
  return event(chunk(answer, [{ index: 0, delta: { content: text }, finish_reason: null }]));
}

/** Under both names that clients look for. */
export function reasoningChunk(answer: Answer, text: string): string {
  const delta = { reasoning_content: text, reasoning: text };
  return event(chunk(answer, [{ index: 0, delta, finish_reason: null }]));
}

/** Finish, usage (in the place where this client looks for it), and the end. Only ever written on success. */
export function tail(answer: Answer, finishReason: string, bill: Bill, includeUsage: boolean): string {
  const finish = chunk(answer, [{ index: 0, delta: {}, finish_reason: finishReason }]);
  return includeUsage
    ? event({ ...finish, usage: null }) + event({ ...chunk(answer, []), usage: usageOf(bill) }) + DONE
    : event({ ...finish, usage: usageOf(bill) }) + DONE;
}

export function whole(
  answer: Answer,
  { text, reasoning }: { readonly text: string; readonly reasoning: string },
  finishReason: string,
  bill: Bill,
) {
  return {
    ...answer,
    object: "chat.completion",
    choices: [
      {
        index: 0,
        message: {
          role: "assistant",
          content: text,
          refusal: null,
          ...(reasoning !== "" && { reasoning_content: reasoning, reasoning }),
        },
        logprobs: null,
        finish_reason: finishReason,
      },
    ],
    usage: usageOf(bill),
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
