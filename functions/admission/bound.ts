/**
 * The most that a request can cost: an upper bound of its tokens, known before any tokenizer has seen it. A token
 * is at least one byte of UTF-8, so the bytes of all text are enough, with room for what a chat template puts
 * around each message; and no prompt can be longer than the model's context.
 */
import type { ChatMessage } from "../surfaces/openai/schema.ts";

const TEMPLATE_TOKENS = 64;
const MESSAGE_TOKENS = 16;

const encoder = new TextEncoder();

export function inputBound(messages: readonly ChatMessage[], contextLength: number): number {
  let tokens = TEMPLATE_TOKENS;
  for (const message of messages) {
    tokens += MESSAGE_TOKENS + utf8Length(message.content) + utf8Length(message.name ?? "");
    if (tokens >= contextLength) return contextLength;
  }
  return tokens;
}

/** The edge tells every backend this number, so that it cannot generate past the hold. */
export function outputBound(asked: number | undefined, byDefault: number, contextLength: number): number {
  return Math.min(asked ?? byDefault, contextLength);
}

export function utf8Length(text: string): number {
  return encoder.encode(text).length;
}
