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
  /** 0 is all. */
  readonly topK: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  /** How many answers. */
  readonly n: number;
  /** Functions only, as they were sent. */
  readonly tools: readonly Tool[];
  readonly toolChoice: ToolChoice;
  readonly parallelToolCalls: boolean;
  readonly seed: number;
}

export type Tool = z.infer<typeof functionTool>;
export type ToolChoice = "none" | "auto" | "required" | { readonly name: string };

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
    tool_calls: z.array(toolCall).max(128).nullish(),
  }),
  z.looseObject({ role: z.literal("tool"), content, tool_call_id: z.string().optional() }),
]);

/** Templates look each property up among the required ones: their product is what a request may cost here. */
const maxParameters = 1_000;

const functionTool = z.looseObject({
  type: z.literal("function"),
  function: z.looseObject({
    name: z.string().min(1).max(256),
    description: z.string().nullish(),
    parameters: z
      .looseObject({ properties: z.looseObject({}).nullish(), required: z.array(z.string()).nullish() })
      .refine(
        ({ properties, required }) =>
          Object.keys(properties ?? {}).length <= maxParameters && (required?.length ?? 0) <= maxParameters,
        `at most ${maxParameters} properties`,
      )
      .nullish(),
  }),
});

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
  top_k: z.int().min(-1).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  n: z.int().min(1).max(8).nullish(),
  tools: z
    .array(z.looseObject({ type: z.string() }))
    .max(512)
    .nullish(),
  tool_choice: z
    .union([
      z.enum(["none", "auto", "required"]),
      z.looseObject({ type: z.literal("function"), function: z.looseObject({ name: z.string() }) }),
    ])
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
});

/** Errors: ApiError 400 that names the field. */
export function parseChatRequest(json: unknown): ChatRequest {
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw firstIssue(parsed.error);
  const body = parsed.data;
  refuseUnsupported(body);
  const tools = functionsOf(body.tools ?? []);
  return {
    model: body.model,
    messages: body.messages.map(chatMessage),
    stream: body.stream ?? false,
    includeUsage: body.stream_options?.include_usage ?? false,
    maxTokens: body.max_completion_tokens ?? body.max_tokens ?? undefined,
    stops: [body.stop ?? []].flat(),
    temperature: body.temperature ?? undefined,
    topP: body.top_p ?? undefined,
    topK: Math.max(0, body.top_k ?? 0),
    presencePenalty: body.presence_penalty ?? 0,
    frequencyPenalty: body.frequency_penalty ?? 0,
    n: body.n ?? 1,
    tools,
    toolChoice: toolChoice(body.tool_choice, tools),
    parallelToolCalls: body.parallel_tool_calls ?? true,
    seed: body.seed ?? randomInt(2 ** 47),
  };
}

/** at: where the value that was parsed lies in the body. */
function firstIssue(error: z.ZodError, at: readonly PropertyKey[] = []): ApiError {
  const issue = error.issues[0];
  const param = [...at, ...issue.path]
    .map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`))
    .join("");
  const name = param.replace(/^\./, "");
  return name
    ? invalidValue(name, `${name}: ${issue.message}`)
    : invalidValue("body", `The body: ${issue.message}`);
}

/** Tools of other types are for hosts that offer them; a model here cannot call them, and is not told of them. */
function functionsOf(tools: readonly { type: string }[]): Tool[] {
  return tools.flatMap((tool, index) => {
    if (tool.type !== "function") return [];
    const parsed = functionTool.safeParse(tool);
    if (parsed.success) return [parsed.data];
    throw firstIssue(parsed.error, ["tools", index]);
  });
}

function toolChoice(asked: z.infer<typeof schema>["tool_choice"], tools: readonly Tool[]): ToolChoice {
  if (asked == null) return "auto";
  if (typeof asked === "string") {
    if (asked === "required" && tools.length === 0)
      throw invalidValue("tool_choice", "tool_choice is required, but there are no tools.");
    return asked;
  }
  const { name } = asked.function;
  if (tools.some((tool) => tool.function.name === name)) return { name };
  throw invalidValue(
    "tool_choice",
    `tool_choice names ${JSON.stringify(name.slice(0, 100))}, which is not among the tools.`,
  );
}

function chatMessage(message: z.infer<typeof schema>["messages"][number]): ChatMessage {
  const { content } = message;
  return {
    // Templates know no developer role; it is the system role's later name.
    role: message.role === "developer" ? "system" : message.role,
    content: Array.isArray(content) ? content.map((part) => part.text).join("") : (content ?? null),
    ...(message.role === "assistant" && message.tool_calls?.length ? { tool_calls: message.tool_calls } : {}),
    ...(message.role === "tool" && message.tool_call_id ? { tool_call_id: message.tool_call_id } : {}),
  };
}

/** Fields that would change the answer if they were obeyed: with another value than these they are refused. */
const defaults: Readonly<Record<string, (value: unknown) => boolean>> = {
  response_format: (value) => (value as { type?: unknown } | null)?.type === "text",
  logprobs: (value) => value === false,
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
