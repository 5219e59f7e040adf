/** The body of `POST /v1/chat/completions`, parsed once and trusted inside. */
import { randomInt } from "node:crypto";
import { z } from "zod";
import type { ChatMessage } from "../tokenizer/chat-template.ts";
import { ApiError, invalidValue } from "./error.ts";

export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly ChatMessage[];
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** As asked; the context clips it. */
  readonly maxTokens: number | undefined;
  readonly stops: readonly string[];
  readonly temperature: number | undefined;
  readonly topP: number | undefined;
  readonly seed: number;
}

const textParts = z.array(z.looseObject({ type: z.literal("text"), text: z.string() })).min(1);
const content = z.union([z.string(), textParts]);
const toolCall = z.looseObject({
  id: z.string().optional(),
  function: z.looseObject({ name: z.string(), arguments: z.string() }),
});

const message = z.discriminatedUnion("role", [
  z.looseObject({ role: z.enum(["system", "developer", "user"]), content }),
  z.looseObject({
    role: z.literal("assistant"),
    content: content.nullish(),
    tool_calls: z.array(toolCall).min(1).max(128).nullish(),
  }),
  z.looseObject({ role: z.literal("tool"), content, tool_call_id: z.string().optional() }),
]);

const stop = z
  .string()
  .min(1)
  .max(1_000)
  .refine((text) => text.isWellFormed(), "must be well-formed Unicode");

const schema = z.looseObject({
  model: z.string().min(1),
  messages: z.array(message).min(1),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  max_tokens: z.int().min(1).nullish(),
  max_completion_tokens: z.int().min(1).nullish(),
  stop: z.union([stop, z.array(stop).max(4)]).nullish(),
  seed: z.int().nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
});

/** Errors: ApiError 400 that names the field. */
export function parseChatRequest(json: unknown): ChatRequest {
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw firstIssue(parsed.error);
  const body = parsed.data;
  refuseUnsupported(body);
  return {
    model: body.model,
    messages: body.messages.map(chatMessage),
    stream: body.stream ?? false,
    includeUsage: body.stream_options?.include_usage ?? false,
    maxTokens: body.max_completion_tokens ?? body.max_tokens ?? undefined,
    stops: [body.stop ?? []].flat(),
    temperature: body.temperature ?? undefined,
    topP: body.top_p ?? undefined,
    seed: body.seed ?? randomInt(2 ** 47),
  };
}

function firstIssue(error: z.ZodError): ApiError {
  const issue = error.issues[0];
  const param = issue.path
    .map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`))
    .join("");
  const name = param.replace(/^\./, "");
  return name
    ? invalidValue(name, `${name}: ${issue.message}`)
    : invalidValue("body", `The body: ${issue.message}`);
}

function chatMessage(message: z.infer<typeof schema>["messages"][number]): ChatMessage {
  const { content } = message;
  return {
    // Templates know no developer role; it is the system role's later name.
    role: message.role === "developer" ? "system" : message.role,
    content: Array.isArray(content) ? content.map((part) => part.text).join("") : (content ?? null),
    ...(message.role === "assistant" && message.tool_calls ? { tool_calls: message.tool_calls } : {}),
    ...(message.role === "tool" && message.tool_call_id ? { tool_call_id: message.tool_call_id } : {}),
  };
}

/** Fields that would change the answer if they were obeyed: with another value than these they are refused. */
const defaults: Readonly<Record<string, (value: unknown) => boolean>> = {
  n: (value) => value === 1,
  tools: (value) => Array.isArray(value) && value.length === 0,
  tool_choice: (value) => value === "none" || value === "auto",
  response_format: (value) => (value as { type?: unknown } | null)?.type === "text",
  logprobs: (value) => value === false,
  frequency_penalty: (value) => value === 0,
  presence_penalty: (value) => value === 0,
  logit_bias: (value) => typeof value === "object" && Object.keys(value as object).length === 0,
};

function refuseUnsupported(body: Readonly<Record<string, unknown>>): void {
  for (const [name, isDefault] of Object.entries(defaults)) {
    const value = body[name];
    if (value === undefined || value === null || isDefault(value)) continue;
    throw new ApiError(400, "unsupported_parameter", `${name} is not supported by this engine.`, {
      param: name,
    });
  }
}
