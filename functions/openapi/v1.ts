/** What the document says of the account's API. Answers are described here; bodies and queries where they are parsed. */
import { z } from "zod";
import { budgetsBody, keyChangeBody, newKeyBody, rotateBody } from "../keys/fields.ts";
import { budgetsShape, keyListShape, keyShape, madeKeyShape } from "../keys/view.ts";
import { served } from "../surfaces/openai/schema.ts";
import { generationQuery } from "../usage/read.ts";
import { instant, usdText, wholeText } from "./fields.ts";
import type { Operation } from "./operation.ts";

const usageShape = z
  .strictObject({
    prompt_tokens: z.int(),
    completion_tokens: z.int(),
    total_tokens: z.int(),
    prompt_tokens_details: z.strictObject({ cached_tokens: z.int() }),
    completion_tokens_details: z.strictObject({ reasoning_tokens: z.int() }),
    cache_read_input_tokens: z.int(),
    prompt_cache_hit_tokens: z.int(),
    prompt_cache_miss_tokens: z.int(),
    cost: z.number().meta({ description: "USD. `/v1/generation` has it exactly." }),
  })
  .meta({ id: "CompletionUsage" });

const answerFields = {
  id: z.string(),
  model: z.string(),
  created: z.int().meta({ description: "Unix seconds." }),
};

const completionShape = z
  .strictObject({
    ...answerFields,
    object: z.literal("chat.completion"),
    choices: z.array(
      z.strictObject({
        index: z.int(),
        message: z.strictObject({
          role: z.literal("assistant"),
          content: z.string(),
          refusal: z.null(),
          reasoning_content: z.string().optional(),
          reasoning: z.string().optional(),
        }),
        logprobs: z.null(),
        finish_reason: z.string(),
      }),
    ),
    usage: usageShape,
  })
  .meta({ id: "Completion" });

export const chunkShape = z
  .strictObject({
    ...answerFields,
    object: z.literal("chat.completion.chunk"),
    choices: z.array(
      z.strictObject({
        index: z.int(),
        delta: z.strictObject({
          role: z.literal("assistant").optional(),
          content: z.string().optional(),
          reasoning_content: z.string().optional(),
          reasoning: z.string().optional(),
        }),
        finish_reason: z.string().nullable(),
      }),
    ),
    usage: usageShape.nullish(),
  })
  .meta({
    id: "CompletionChunk",
    description:
      "The data of one event. Usage and cost come with the finish, or in a chunk of their own after it where `stream_options.include_usage` asks for that; `data: [DONE]` ends a stream that finished, and only that. One that failed ends in an event with `error`, and its choice's `finish_reason` is `error`.",
  });

export const completions: Operation = {
  tag: "Inference",
  summary: "Complete a chat",
  description: `As OpenAI's. With \`"stream": true\` the answer is server-sent events; comment lines, which begin with a colon, keep a
stream alive until its first token.

Fields that the document does not name are accepted, never forwarded, and named in \`x-causeway-ignored\`. These are known and
not served yet, so anything but their default is a 400: \`n\`, \`logprobs\`, \`top_logprobs\`, \`presence_penalty\`,
\`frequency_penalty\`, \`logit_bias\`, \`response_format\`, \`tools\`, \`tool_choice\`, \`functions\`, \`function_call\`,
\`modalities\`, \`audio\`, \`prediction\`.

\`x-causeway-explain: 1\` brings the router's ranking in \`x-causeway-candidates\`.`,
  body: served,
  answer: completionShape,
  events: chunkShape,
  idempotent: true,
  limited: true,
  errors: {
    400: "Something that was sent is wrong; `param` names it.",
    402: "The balance is too small for the most that the request can cost (`insufficient_balance`).",
    404: "No such model, or it is not sold (`model_not_found`).",
    409: "The same `Idempotency-Key` is running (`idempotent_request_in_flight`) or has run (`idempotent_request_ended`).",
    422: "The same `Idempotency-Key` came with another body (`idempotency_key_reused`).",
    429: "A limit a minute (`rate_limit_exceeded`), a budget (`budget_exceeded`), or money that is tied up in flight (`balance_in_flight`).",
    502: "Backends failed (`backend_failed`, `prompt_quarantined`).",
    504: "The backend, or the whole request, took too long (`backend_timeout`).",
  },
  examples: {
    body: {
      model: "causeway-probe",
      messages: [{ role: "user", content: "Tell me a story." }],
      max_tokens: 64,
      stream: false,
    },
  },
};

const modelShape = z
  .strictObject({
    id: z.string(),
    object: z.literal("model"),
    type: z.literal("model"),
    created: z.int(),
    created_at: instant,
    owned_by: z.string(),
    name: z.string(),
    display_name: z.string(),
    description: z.string(),
    context_length: z.int(),
    architecture: z.strictObject({
      modality: z.string(),
      input_modalities: z.array(z.string()),
      output_modalities: z.array(z.string()),
      tokenizer: z.string(),
    }),
    top_provider: z.strictObject({
      context_length: z.int(),
      max_completion_tokens: z.int(),
      is_moderated: z.boolean(),
    }),
    pricing: z
      .strictObject({
        prompt: z.string(),
        completion: z.string(),
        input_cache_read: z.string(),
        request: z.string(),
      })
      .meta({ description: "USD a token, exactly, as text." }),
    supported_parameters: z.array(z.string()),
  })
  .meta({ id: "Model" });

export const models: Operation = {
  tag: "Inference",
  summary: "List the models that are sold",
  answer: z.strictObject({
    object: z.literal("list"),
    data: z.array(modelShape),
    has_more: z.boolean(),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
  }),
};
export const model: Operation = {
  tag: "Inference",
  summary: "Look up a model",
  description: "Ids may hold slashes.",
  answer: modelShape,
};

const costFields = { cost: usdText.nullable(), cost_nanodollars: wholeText.nullable() };
const heldFields = { held: usdText, held_nanodollars: wholeText };
const tokenFields = {
  prompt_tokens: z.int(),
  cached_tokens: z.int(),
  completion_tokens: z.int(),
  reasoning_tokens: z.int(),
  source: z.enum(["backend", "edge", "estimate"]).nullable(),
};

export const generationFields = {
  id: z.string(),
  request_id: z.string(),
  state: z.enum(["open", "settled"]),
  model: z.string().nullable(),
  region: z.string().nullable(),
  backend: z.string().nullable(),
  key: z.string().nullable(),
  ending: z.enum(["finished", "client_left", "backend_failed", "refused", "deadline", "expired"]).nullable(),
  finish_reason: z.string().nullable(),
  usage: z.strictObject(tokenFields).nullable(),
  ...costFields,
  ...heldFields,
  price: z.string().nullable().meta({ description: "The price version that it was admitted with." }),
  attempts: z.array(
    z.object({
      id: z.string(),
      backend: z.string(),
      region: z.string(),
      outcome: z.enum(["served", "refused", "failed", "timed_out", "aborted"]),
      ms: z.number(),
      terms: z.record(z.string(), z.number()).optional(),
    }),
  ),
  admitted_at: instant.nullable(),
  settled_at: instant.nullable(),
  ttft_ms: z.number().nullable(),
  duration_ms: z.number().nullable(),
  adjustments: z.array(z.strictObject({ at: instant, ...tokenFields, ...costFields })),
};

const generationShape = z.strictObject(generationFields).meta({ id: "Generation" });

export const generation: Operation = {
  tag: "Usage",
  summary: "Look up one request: usage, cost, placement",
  description: "There at once, also while it runs.",
  query: generationQuery,
  answer: generationShape,
  errors: { 404: "No such request in this account." },
};

export const moneyFields = {
  balance: usdText,
  balance_nanodollars: wholeText,
  ...heldFields,
  available: usdText,
  available_nanodollars: wholeText,
};

export const balance: Operation = {
  tag: "Usage",
  summary: "Read the balance and the budgets",
  answer: z
    .strictObject({
      object: z.literal("balance"),
      ...moneyFields,
      days_left: z.number().nullable(),
      budgets: budgetsShape,
    })
    .meta({ id: "Balance" }),
};

const KEYS = "Keys and budgets";
const scopeErrors = {
  403: "The asking key lacks `manage`, or a scope that it would grant (`missing_scope`): a key grants nothing that it lacks.",
};
const keyExample = { name: "ci", scopes: ["inference"], budgets: { day: "5.00", month: "50.00" } };

export const listKeys: Operation = { tag: KEYS, summary: "List the keys", answer: keyListShape };
export const createKey: Operation = {
  tag: KEYS,
  summary: "Make a key",
  description: "The key's text is in this answer and nowhere else: what is kept is a hash.",
  body: newKeyBody,
  answer: madeKeyShape,
  status: 201,
  idempotent: true,
  errors: {
    ...scopeErrors,
    409: "Too many keys (`too_many_keys`), or the same `Idempotency-Key` has made one: its id is named.",
    422: "The same `Idempotency-Key` came with another body.",
  },
  examples: { body: keyExample },
};
export const getKey: Operation = { tag: KEYS, summary: "Look up a key", answer: keyShape };
export const changeKey: Operation = {
  tag: KEYS,
  summary: "Change a key",
  description: "In force with the next admission. What is not named stays; null takes away.",
  body: keyChangeBody,
  answer: keyShape,
  errors: { ...scopeErrors, 409: "The key has ended (`key_ended`)." },
  examples: { body: { budgets: { day: "2.50" } } },
};
export const rotateKey: Operation = {
  tag: KEYS,
  summary: "Rotate a key",
  description: `Makes a successor with the same settings. The old key goes on working for \`overlap_seconds\`, exactly, and both count against
the same limits and budgets.

Where the answer was lost, ask again: a new successor is made and the unused one is void. The old key's deadline never moves to
later. Once the successor has been used, rotating the old key again is a 409.`,
  body: rotateBody,
  answer: madeKeyShape,
  status: 201,
  errors: {
    ...scopeErrors,
    409: "The key has ended (`key_ended`), or its successor is in use: rotate that (`already_rotated`).",
  },
  examples: { body: { overlap_seconds: 86_400 } },
};
export const revokeKey: Operation = {
  tag: KEYS,
  summary: "Revoke a key",
  description:
    "In force with the next admission; what is running goes on. Revoking twice keeps the first time.",
  answer: keyShape,
};
export const getBudgets: Operation = {
  tag: KEYS,
  summary: "Read the account's budgets",
  answer: budgetsShape,
};
export const putBudgets: Operation = {
  tag: KEYS,
  summary: "Set the account's budgets",
  description:
    "Both are set; null takes one away. A request belongs to the UTC day and month that it was admitted in, with all that it costs. One whose most does not fit is a 429 `budget_exceeded`.",
  body: budgetsBody.required(),
  answer: budgetsShape,
  examples: { body: { day: "5.00", month: null } },
};
