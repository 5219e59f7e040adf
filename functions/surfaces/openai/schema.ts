/**
 * The chat completion request as clients send it. Three kinds of fields: served; known but not served yet, where
 * only the default passes (clients send defaults); and all others, which are accepted, never forwarded, and named
 * in `x-causeway-ignored`. null means absent, as in OpenAI's own schema.
 */
import { z } from "zod";
import type { Preferences } from "../../../router/types.ts";
import { type ApiError, invalid, notServed } from "../../errors.ts";
import { compileProblem, sizeOf } from "./json-schema.ts";
import { type ChatMessage, messagesField, messagesOf } from "./messages.ts";
import { type Tools, toolFields, toolsOf } from "./tools.ts";

/** What the platform works with: validated, and nothing else of what was sent. */
export interface ChatRequest extends Tools {
  readonly model: string;
  readonly messages: readonly ChatMessage[];
  readonly stream: boolean;
  /** Whether the client asked for the usage chunk. */
  readonly includeUsage: boolean;
  /** For each answer. */
  readonly maxTokens: number | undefined;
  /** How many answers. */
  readonly n: number;
  readonly stop: readonly string[];
  readonly seed: number | undefined;
  readonly temperature: number | undefined;
  readonly topP: number | undefined;
  /** Undefined, here and below: as by default. */
  readonly topK: number | undefined;
  readonly minP: number | undefined;
  readonly presencePenalty: number | undefined;
  readonly frequencyPenalty: number | undefined;
  readonly repetitionPenalty: number | undefined;
  readonly responseFormat: ResponseFormat | undefined;
  /** Of these fields not every kind of backend serves each: what was asked for goes to one that does. */
  readonly needs: readonly OptionalField[];
  /** Where the caller wants it served, in OpenRouter's spelling; the account's residency stands above it. */
  readonly preferences: Preferences;
  /** The caller's name for a conversation: requests of one are likely to share a prefix. */
  readonly session: string | undefined;
  /** Names of fields that were sent and have no effect. */
  readonly ignored: readonly string[];
}

export const OPTIONAL_FIELDS = ["top_k", "min_p", "repetition_penalty", "response_format"] as const;
export type OptionalField = (typeof OPTIONAL_FIELDS)[number];

/** What an answer must be, other than text. */
export type ResponseFormat =
  | { readonly type: "json_object" }
  | {
      readonly type: "json_schema";
      readonly json_schema: {
        readonly name: string;
        readonly description?: string;
        readonly schema: Readonly<Record<string, unknown>>;
        readonly strict?: boolean;
      };
    };

const MAX_TOKENS = 1_000_000;
/** As many as our engine gives. */
const MAX_CHOICES = 8;
/** Of the schema that an answer must follow. */
const MAX_SCHEMA = { nodes: 10_000, characters: 128 * 1024 };

const maxTokens = z
  .int({ error: "must be a whole number" })
  .min(1, { error: "must be at least 1" })
  .max(MAX_TOKENS, { error: `must be at most ${MAX_TOKENS}` })
  .nullish();

const penalty = z.number().min(-2).max(2).nullish();

const responseFormat = z.discriminatedUnion(
  "type",
  [
    z.object({ type: z.literal("text") }),
    z.object({ type: z.literal("json_object") }),
    z.object({
      type: z.literal("json_schema"),
      json_schema: z.object({
        name: z.string().min(1).max(64),
        description: z.string().max(10_000).nullish(),
        schema: z.custom<Record<string, unknown>>(
          (value) => typeof value === "object" && value !== null && !Array.isArray(value),
          { error: "must be a JSON schema" },
        ),
        strict: z.boolean().nullish(),
      }),
    }),
  ],
  { error: "must be of type 'text', 'json_object' or 'json_schema'" },
);

const names = z.array(z.string().min(1).max(100)).max(50).nullish();

const provider = z.object({
  order: names,
  only: names,
  ignore: names,
  allow_fallbacks: z.boolean().nullish(),
  sort: z.enum(["price", "throughput", "latency"]).nullish(),
  region: z.string().min(1).max(100).nullish(),
});

export const served = z.object({
  model: z.string().min(1).max(200),
  messages: messagesField,
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
  // 0 and -1 are all.
  top_k: z.int().min(-1).max(1_000_000).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  presence_penalty: penalty,
  frequency_penalty: penalty,
  repetition_penalty: z.number().gt(0).max(2).nullish(),
  n: z.int().min(1).max(MAX_CHOICES).nullish(),
  response_format: responseFormat.nullish(),
  ...toolFields,
  provider: provider.nullish(),
  prompt_cache_key: z.string().max(200).nullish(),
});

/** Known, not served yet: what the default is, and what to say otherwise. */
const unserved: Record<string, { isDefault: (value: unknown) => boolean; hint: string }> = {
  logprobs: { isDefault: (value) => value === false, hint: "Leave it out." },
  top_logprobs: { isDefault: (value) => value === 0, hint: "Leave it out." },
  logit_bias: { isDefault: isEmpty, hint: "Leave it out." },
  functions: { isDefault: isEmpty, hint: "Send 'tools'." },
  function_call: { isDefault: (value) => value === "auto" || value === "none", hint: "Send 'tool_choice'." },
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
  const messages = messagesOf(data.messages);
  if ("status" in messages) return messages;
  const tools = toolsOf(data);
  if ("status" in tools) return tools;
  const format = formatOf(data.response_format);
  if (format && "status" in format) return format;
  const sampling = {
    topK: other(data.top_k, 0, -1),
    minP: other(data.min_p, 0),
    repetitionPenalty: other(data.repetition_penalty, 1),
    presencePenalty: other(data.presence_penalty, 0),
    frequencyPenalty: other(data.frequency_penalty, 0),
  };
  const needed: Record<OptionalField, unknown> = {
    top_k: sampling.topK,
    min_p: sampling.minP,
    repetition_penalty: sampling.repetitionPenalty,
    response_format: format,
  };
  return {
    model: data.model,
    messages,
    ...tools,
    ...sampling,
    responseFormat: format,
    needs: OPTIONAL_FIELDS.filter((field) => needed[field] !== undefined),
    n: data.n ?? 1,
    stream: data.stream ?? false,
    includeUsage: data.stream_options?.include_usage ?? false,
    maxTokens: max_completion_tokens ?? max_tokens ?? undefined,
    stop,
    seed: data.seed ?? undefined,
    temperature: data.temperature ?? undefined,
    topP: data.top_p ?? undefined,
    preferences: preferencesOf(data.provider),
    session: data.prompt_cache_key || undefined,
    ignored: [...Object.keys(sent).filter((field) => !(field in served.shape)), ...tools.ignored],
  };
}

/** A value that is not one of the defaults: those go nowhere, and so may be sent by anybody. */
function other(value: number | null | undefined, ...defaults: readonly number[]): number | undefined {
  return value == null || defaults.includes(value) ? undefined : value;
}

function formatOf(
  sent: z.output<typeof responseFormat> | null | undefined,
): ResponseFormat | ApiError | undefined {
  if (sent == null || sent.type === "text") return undefined;
  if (sent.type === "json_object") return { type: "json_object" };
  const { name, description, schema, strict } = sent.json_schema;
  const param = "response_format.json_schema.schema";
  const size = sizeOf(schema, MAX_SCHEMA);
  const problem = typeof size === "string" ? size : compileProblem(schema);
  if (problem) return invalid(`'${param}' ${problem}.`, param);
  const told = { ...(description != null && { description }), ...(strict != null && { strict }) };
  return { type: "json_schema", json_schema: { name, schema, ...told } };
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
