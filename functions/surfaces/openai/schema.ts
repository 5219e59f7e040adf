/**
 * The chat completion request as clients send it. Three kinds of fields: served; known but not served yet, where
 * only the default passes (clients send defaults); and all others, which are accepted, never forwarded, and named
 * in `x-causeway-ignored`. null means absent, as in OpenAI's own schema.
 */
import { z } from "zod";
import type { Preferences } from "../../../router/types.ts";
import { type ApiError, invalid, notServed } from "../../errors.ts";

export interface ChatMessage {
  readonly role: "system" | "developer" | "user" | "assistant" | "tool";
  readonly content: string;
  readonly name?: string;
}

/** What the platform works with: validated, and nothing else of what was sent. */
export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly ChatMessage[];
  readonly stream: boolean;
  /** Whether the client asked for the usage chunk. */
  readonly includeUsage: boolean;
  readonly maxTokens: number | undefined;
  readonly stop: readonly string[];
  readonly seed: number | undefined;
  readonly temperature: number | undefined;
  readonly topP: number | undefined;
  /** Where the caller wants it served, in OpenRouter's spelling; the account's residency stands above it. */
  readonly preferences: Preferences;
  /** The caller's name for a conversation: requests of one are likely to share a prefix. */
  readonly session: string | undefined;
  /** Names of fields that were sent and have no effect. */
  readonly ignored: readonly string[];
}

const MAX_MESSAGES = 10_000;
const MAX_TOKENS = 1_000_000;

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
});

const maxTokens = z
  .int({ error: "must be a whole number" })
  .min(1, { error: "must be at least 1" })
  .max(MAX_TOKENS, { error: `must be at most ${MAX_TOKENS}` })
  .nullish();

const names = z.array(z.string().min(1).max(100)).max(50).nullish();

const provider = z.object({
  order: names,
  only: names,
  ignore: names,
  allow_fallbacks: z.boolean().nullish(),
  sort: z.enum(["price", "throughput", "latency"]).nullish(),
  region: z.string().min(1).max(100).nullish(),
});

const served = z.object({
  model: z.string().min(1).max(200),
  messages: z.array(message).min(1, { error: "must hold at least one message" }).max(MAX_MESSAGES),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  max_tokens: maxTokens,
  max_completion_tokens: maxTokens,
  stop: z
    .union([z.string(), z.array(z.string()).max(4)], { error: "must be a string or up to 4 strings" })
    .nullish(),
  seed: z.int().nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  provider: provider.nullish(),
  prompt_cache_key: z.string().max(200).nullish(),
});

/** Known, not served yet: what the default is, and what to say otherwise. */
const unserved: Record<string, { isDefault: (value: unknown) => boolean; hint: string }> = {
  n: { isDefault: (value) => value === 1, hint: "Ask once for each answer." },
  logprobs: { isDefault: (value) => value === false, hint: "Leave it out." },
  top_logprobs: { isDefault: (value) => value === 0, hint: "Leave it out." },
  presence_penalty: { isDefault: (value) => value === 0, hint: "Leave it out, or send 0." },
  frequency_penalty: { isDefault: (value) => value === 0, hint: "Leave it out, or send 0." },
  logit_bias: { isDefault: isEmpty, hint: "Leave it out." },
  response_format: { isDefault: (value) => typeOf(value) === "text", hint: "Ask for JSON in the prompt." },
  // Tools of unknown types are ignored, as clients expect; functions would be promised and not called.
  tools: {
    isDefault: (value) => Array.isArray(value) && !value.some((tool) => typeOf(tool) === "function"),
    hint: "Leave tools out.",
  },
  tool_choice: { isDefault: (value) => value === "auto" || value === "none", hint: "Leave tools out." },
  functions: { isDefault: isEmpty, hint: "Leave it out." },
  function_call: { isDefault: (value) => value === "auto" || value === "none", hint: "Leave it out." },
  modalities: {
    isDefault: (value) => Array.isArray(value) && value.every((kind) => kind === "text"),
    hint: "Text only.",
  },
  audio: { isDefault: () => false, hint: "Text only." },
  prediction: { isDefault: () => false, hint: "Leave it out." },
};

/** A validated request, or what is wrong with it. */
export function parseChatRequest(body: unknown): ChatRequest | ApiError {
  if (typeof body !== "object" || body === null || Array.isArray(body))
    return invalid("The body must be a JSON object.");
  const sent = body as Record<string, unknown>;
  for (const [field, { isDefault, hint }] of Object.entries(unserved)) {
    const value = sent[field];
    if (value !== undefined && value !== null && !isDefault(value)) return notServed(field, hint);
  }
  const parsed = served.safeParse(sent);
  if (!parsed.success) return firstIssue(parsed.error);
  const data = parsed.data;
  const { max_tokens, max_completion_tokens } = data;
  if (max_tokens != null && max_completion_tokens != null && max_tokens !== max_completion_tokens) {
    return invalid("max_tokens and max_completion_tokens differ. Send one.", "max_tokens");
  }
  const stop = typeof data.stop === "string" ? [data.stop] : (data.stop ?? []);
  if (stop.some((text) => text === "" || text.length > 500)) {
    return invalid("A stop string must have 1 to 500 characters.", "stop");
  }
  const messages: ChatMessage[] = [];
  for (const [index, { role, content, name }] of data.messages.entries()) {
    if (hasItems((sent.messages as { tool_calls?: unknown }[])[index]?.tool_calls)) {
      return notServed(`messages.${index}.tool_calls`, "Leave tools out.");
    }
    if (content == null && role !== "assistant")
      return invalid("A message needs content.", `messages.${index}.content`);
    const text = Array.isArray(content) ? content.map((part) => part.text).join("") : (content ?? "");
    messages.push({ role, content: text, ...(name != null && { name }) });
  }
  return {
    model: data.model,
    messages,
    stream: data.stream ?? false,
    includeUsage: data.stream_options?.include_usage ?? false,
    maxTokens: max_completion_tokens ?? max_tokens ?? undefined,
    stop,
    seed: data.seed ?? undefined,
    temperature: data.temperature ?? undefined,
    topP: data.top_p ?? undefined,
    preferences: preferencesOf(data.provider),
    session: data.prompt_cache_key || undefined,
    ignored: Object.keys(sent).filter((field) => !(field in served.shape)),
  };
}

function preferencesOf(sent: z.output<typeof provider> | null | undefined): Preferences {
  // null means absent, here too.
  return Object.fromEntries(Object.entries(sent ?? {}).filter(([, value]) => value != null));
}

/** The first thing that is wrong, with the path of the field as `param`. */
export function firstIssue(error: z.ZodError): ApiError {
  const issue = error.issues[0]!;
  const path = issue.path.join(".");
  return invalid(path ? `'${path}': ${issue.message}` : issue.message, path || undefined);
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

function hasItems(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0;
}

function typeOf(value: unknown): unknown {
  return typeof value === "object" && value !== null ? (value as { type?: unknown }).type : undefined;
}
