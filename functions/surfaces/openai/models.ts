/** The list of models, in one shape that OpenAI's, Anthropic's and OpenRouter's readers all accept. */
import type { Context } from "hono";
import type { AppEnv } from "../../app.ts";
import { iso } from "../../clock.ts";
import { fieldsOf } from "../../dispatch/dialects/serves.ts";
import { notFound, Refusal } from "../../errors.ts";
import { backendsOf, type Model, priceOf, type Snapshot, snapshot } from "../../fleet/snapshot.ts";
import { formatUsd, type Nanodollars } from "../../money.ts";

export async function listModels(c: Context<AppEnv>): Promise<Response> {
  const view = await snapshot(c.env, (work) => c.executionCtx.waitUntil(work));
  const data = [...view.models.values()].flatMap((model) => entry(view, model) ?? []);
  return c.json({
    object: "list",
    data,
    has_more: false,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
  });
}

export async function oneModel(c: Context<AppEnv>): Promise<Response> {
  const view = await snapshot(c.env, (work) => c.executionCtx.waitUntil(work));
  const id = c.req.param("id") ?? "";
  const model = view.models.get(id);
  const found = model && entry(view, model);
  if (!found)
    throw new Refusal(notFound(`No model '${id}'. GET /v1/models lists them.`, "model_not_found", "model"));
  return c.json(found);
}

/** Undefined for a model without a price: it is not sold. */
function entry(view: Snapshot, model: Model) {
  const price = priceOf(view, model.id, Date.now());
  if (!price) return undefined;
  return {
    id: model.id,
    object: "model",
    type: "model",
    created: Math.floor(model.createdAt / 1000),
    created_at: iso(model.createdAt),
    owned_by: model.ownedBy,
    name: model.name,
    display_name: model.name,
    description: model.description,
    context_length: model.contextLength,
    architecture: {
      modality: "text->text",
      input_modalities: ["text"],
      output_modalities: ["text"],
      tokenizer: "Other",
    },
    top_provider: {
      context_length: model.contextLength,
      max_completion_tokens: model.contextLength,
      is_moderated: false,
    },
    pricing: {
      prompt: perToken(price.input),
      completion: perToken(price.output),
      input_cache_read: perToken(price.cachedInput),
      request: "0",
    },
    supported_parameters: supportedParameters(view, model),
  };
}

const SERVED_BY_ALL = [
  "max_tokens",
  "max_completion_tokens",
  "temperature",
  "top_p",
  "presence_penalty",
  "frequency_penalty",
  "seed",
  "stop",
  "n",
  "tools",
  "tool_choice",
  "parallel_tool_calls",
];

/** What some backend of the model serves: a request goes to one that serves all that it needs. */
function supportedParameters(view: Snapshot, model: Model): string[] {
  const more = fieldsOf(backendsOf(view, model.id));
  // OpenRouter's word for a response_format with a schema.
  return [...SERVED_BY_ALL, ...more, ...(more.includes("response_format") ? ["structured_outputs"] : [])];
}

/** USD a token, exactly: nanodollars a million tokens are femtodollars a token. */
function perToken(rate: Nanodollars): string {
  const digits = formatUsd(rate).replace("-", "");
  const [whole, fraction = ""] = digits.split(".");
  const shifted = `${whole!.padStart(7, "0")}`;
  const decimals = (shifted.slice(-6) + fraction).replace(/0+$/, "");
  const units = shifted.slice(0, -6).replace(/^0+(?=\d)/, "");
  return decimals ? `${units}.${decimals}` : units;
}
