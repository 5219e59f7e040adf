/** An ApiError in OpenAI's shape: as an answer, or as an event of a stream whose headers are out. */
import type { ApiError } from "../../errors.ts";

function envelope({ message, type, param, code }: ApiError) {
  return { error: { message, type, param: param ?? null, code } };
}

export function errorResponse(error: ApiError, headers: Headers = new Headers()): Response {
  headers.set("content-type", "application/json");
  if (error.retryAfterSeconds !== undefined)
    headers.set("retry-after", String(Math.min(60, error.retryAfterSeconds)));
  headers.set("x-should-retry", String(error.retryable));
  return new Response(JSON.stringify(envelope(error)), { status: error.status, headers });
}

/**
 * An error event. It begins with a blank line, since a backend may have died inside a line, and carries each
 * choice with `finish_reason: "error"` as OpenRouter's does, for clients that look only there. No `[DONE]` follows.
 */
export function errorEvent(
  error: ApiError,
  answer: { id: string; model: string; created: number },
  choices: number,
): string {
  const chunk = {
    ...answer,
    object: "chat.completion.chunk",
    choices: Array.from({ length: choices }, (_, index) => ({ index, delta: {}, finish_reason: "error" })),
    ...envelope(error),
  };
  return `\n\ndata: ${JSON.stringify(chunk)}\n\n`;
}
