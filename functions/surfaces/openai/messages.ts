/** The messages of a request: every role, text as a string or in parts, calls of tools and what they gave. */
import { z } from "zod";
import { type ApiError, invalid } from "../../errors.ts";
import { type FunctionTool, type ToolCall, toolCalls } from "./tools.ts";

export interface ChatMessage {
  readonly role: "system" | "developer" | "user" | "assistant" | "tool";
  /** Empty where an assistant only called tools. */
  readonly content: string;
  readonly name?: string;
  /** What an assistant thought, as it was sent back. */
  readonly reasoning?: string;
  readonly toolCalls?: readonly ToolCall[];
  /** Of a tool's message: the call that it answers. */
  readonly toolCallId?: string;
}

const MAX_MESSAGES = 10_000;

const textPart = z.object({
  type: z.literal("text", { error: "Only parts of type 'text' are served." }),
  text: z.string(),
});
const content = z.union([z.string(), z.array(textPart).max(1_000)], {
  error: "'content' must be a string or a list of parts of type 'text'.",
});

const message = z.object({
  role: z.enum(["system", "developer", "user", "assistant", "tool"]),
  content: content.nullish(),
  name: z.string().max(64).nullish(),
  tool_calls: toolCalls.nullish(),
  tool_call_id: z.string().min(1).max(256).nullish(),
  // Under both names that clients keep it by; some keep other things there.
  reasoning_content: z.unknown().optional(),
  reasoning: z.unknown().optional(),
});

export const messagesField = z
  .array(message)
  .min(1, { error: "must hold at least one message" })
  .max(MAX_MESSAGES);

/** What a message says, or what it lacks. */
export function messagesOf(sent: z.output<typeof messagesField>): ChatMessage[] | ApiError {
  const messages: ChatMessage[] = [];
  for (const [index, said] of sent.entries()) {
    const { role, content, name } = said;
    const at = `messages.${index}`;
    if (content == null && role !== "assistant") return invalid("A message needs content.", `${at}.content`);
    if (role === "tool" && said.tool_call_id == null)
      return invalid("A tool's message needs the id of the call that it answers.", `${at}.tool_call_id`);
    const calls = role === "assistant" ? (said.tool_calls ?? []) : [];
    const reasoning = role === "assistant" ? textOf(said.reasoning_content, said.reasoning) : undefined;
    messages.push({
      role,
      content: Array.isArray(content) ? content.map((part) => part.text).join("") : (content ?? ""),
      ...(name != null && { name }),
      ...(reasoning !== undefined && { reasoning }),
      ...(calls.length > 0 && { toolCalls: calls.map(({ id, function: call }) => ({ id, ...call })) }),
      ...(role === "tool" && { toolCallId: said.tool_call_id! }),
    });
  }
  return messages;
}

function textOf(...values: unknown[]): string | undefined {
  return values.find((value): value is string => typeof value === "string");
}

/** All that the model is told, in the order of a prompt: what two requests share at its beginning, a cache may share. */
export function promptText({
  messages,
  tools,
}: {
  readonly messages: readonly ChatMessage[];
  readonly tools: readonly FunctionTool[];
}): string {
  const told = tools.length > 0 ? `${JSON.stringify(tools)}\n` : "";
  return told + messages.map(textOfMessage).join("");
}

function textOfMessage({ role, content, reasoning = "", toolCalls: calls = [] }: ChatMessage): string {
  const called = calls.map((call) => `${call.name}(${call.arguments})\n`).join("");
  return `${role}\n${reasoning}${content}\n${called}`;
}
