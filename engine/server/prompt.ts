/**
 * From a request to the tokens that the model reads: the checkpoint's template renders it, and nothing that the
 * request says becomes one of the template's own tokens (tokenizer/shield.ts).
 */
import { TemplateError } from "../tokenizer/chat-template.ts";
import { Shield, ShieldError } from "../tokenizer/shield.ts";
import { withToolsInSystemPrompt } from "../tool-calls/system-prompt.ts";
import type { LoadedModel } from "./engine.ts";
import { ApiError } from "./error.ts";
import type { ChatRequest } from "./schema.ts";

/** At least one token, and fewer than the context. Errors: ApiError 400. */
export function encodePrompt(chat: ChatRequest, model: LoadedModel): number[] {
  const { contextLength, tokenizer } = model;
  const { text, shield } = render(chat, model);
  // A text that cannot fit is not encoded at all: encoding megabytes would hold up everyone else.
  if (tokenizer.isCertainlyLongerThan(shield.restore(text), contextLength))
    throw tooLong("more", contextLength);
  const prompt = tokenizer.encodeShielded(text, (part) => shield.restore(part));
  if (prompt.length >= contextLength) throw tooLong(`${prompt.length}`, contextLength);
  if (prompt.length === 0)
    throw new ApiError(400, "invalid_value", "The prompt is empty.", { param: "messages" });
  return prompt;
}

function render(chat: ChatRequest, model: LoadedModel): { text: string; shield: Shield<unknown> } {
  try {
    const { template, tokenizer } = model;
    const { messages, tools } = chat;
    const shield = new Shield(tokenizer.firstsOfSpecialTokens, { messages, tools });
    const shielded = shield.values;
    if (tools.length === 0) return { text: template.render(shielded.messages), shield };
    if (template.tellsTools) return { text: template.render(shielded.messages, shielded.tools), shield };
    return { text: template.render(withToolsInSystemPrompt(shielded.messages, shielded.tools)), shield };
  } catch (error) {
    if (!(error instanceof TemplateError || error instanceof ShieldError)) throw error;
    const message = `The chat template refuses these messages: ${error.message}`;
    throw new ApiError(400, "template_error", message, { param: "messages" });
  }
}

function tooLong(has: string, contextLength: number): ApiError {
  return new ApiError(
    400,
    "context_length_exceeded",
    `This model's maximum context length is ${contextLength} tokens, and one must be left for the answer. The prompt has ${has}.`,
    { param: "messages" },
  );
}
