/**
 * The most that a request can cost: an upper bound of its tokens, known before any tokenizer has seen it. A token
 * is at least one byte of UTF-8, so the bytes of all text are enough, with room for what a chat template puts
 * around it; and no prompt can be longer than the model's context. Templates write a tool as JSON, with or without
 * line breaks, or in words of their own that are shorter.
 */
import type { ChatMessage } from "../surfaces/openai/messages.ts";
import type { ChatRequest } from "../surfaces/openai/schema.ts";

const TEMPLATE_TOKENS = 64;
const MESSAGE_TOKENS = 16;
/** What a template says of tools, or of a format, at all: how to call them, for the longest of them in a page. */
const TOOLS_TOKENS = 1_024;
const TOOL_TOKENS = 64;
const CALL_TOKENS = 32;
/** As the widest template indents. */
const INDENT = 4;

const encoder = new TextEncoder();

type Prompt = Pick<ChatRequest, "messages" | "tools" | "responseFormat">;

/** Of the prompt, which is computed and paid once, however many answers it gets. */
export function inputBound({ messages, tools, responseFormat }: Prompt, contextLength: number): number {
  let tokens = TEMPLATE_TOKENS;
  for (const part of parts(messages, tools, responseFormat)) {
    tokens += part;
    if (tokens >= contextLength) return contextLength;
  }
  return tokens;
}

function* parts(
  messages: Prompt["messages"],
  tools: Prompt["tools"],
  format: Prompt["responseFormat"],
): Generator<number> {
  if (tools.length > 0) yield TOOLS_TOKENS;
  for (const tool of tools) yield TOOL_TOKENS + jsonBytes(tool);
  if (format) yield TOOLS_TOKENS + jsonBytes(format);
  for (const message of messages) yield ofMessage(message);
}

function ofMessage({ content, name = "", reasoning, toolCalls = [], toolCallId = "" }: ChatMessage): number {
  let tokens = MESSAGE_TOKENS + utf8Length(content) + utf8Length(name) + utf8Length(toolCallId);
  if (reasoning !== undefined) tokens += MESSAGE_TOKENS + utf8Length(reasoning);
  for (const call of toolCalls)
    tokens += CALL_TOKENS + utf8Length(call.id) + utf8Length(call.name) + argumentBytes(call.arguments);
  return tokens;
}

/** Of all answers: each may have as many as were asked for, or as many as the model gives by default. */
export function outputBound(
  { maxTokens, n }: Pick<ChatRequest, "maxTokens" | "n">,
  byDefault: number,
  contextLength: number,
): number {
  return n * Math.min(maxTokens ?? byDefault, contextLength);
}

/** The part of a bound that one answer may have: what the edge tells a backend, so that it cannot pass the hold. */
export function outputOfEach(bound: { readonly maxOutput: number }, { n }: Pick<ChatRequest, "n">): number {
  return bound.maxOutput / n;
}

/** Tokens are short and mostly ASCII: counting those is quicker than encoding them. */
const COUNTED_LENGTH = 64;

export function utf8Length(text: string): number {
  if (text.length > COUNTED_LENGTH) return encoder.encode(text).length;
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) > 0x7f) return encoder.encode(text).length;
  return text.length;
}

/** The most bytes that a value's JSON may have: indented, and with escapes (\u1234) for what some escape. */
function jsonBytes(value: unknown): number {
  return escapedBytes(JSON.stringify(value, null, INDENT));
}

/** Arguments are JSON already; some templates parse them and write them anew, with spaces. */
function argumentBytes(json: string): number {
  return escapedBytes(json) + count(json, /[,:{}[\]]/g);
}

/** An escape is six bytes for each of UTF-16's units; a unit alone has three at most. */
function escapedBytes(text: string): number {
  return text.length + 5 * count(text, /[^\u0020-\u007e\n]|[<>&']/g);
}

function count(text: string, pattern: RegExp): number {
  let found = 0;
  for (const _ of text.matchAll(pattern)) found += 1;
  return found;
}
