/**
 * An answer on its way to the client, as a stream of chunks or whole. Nothing is written before the first token:
 * until then the edge may still send the request elsewhere.
 */
import type { ServerResponse } from "node:http";
import type { FinishReason } from "./attempts.ts";
import type { ApiError } from "./error.ts";

export interface AnswerStamp {
  readonly id: string;
  readonly model: string;
  /** Unix seconds. */
  readonly created: number;
}

export interface AnswerUsage {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

export interface Answer {
  /** A token was computed; its text may be empty. */
  token(text: string): void;
  finish(text: string, reason: FinishReason, usage: AnswerUsage): void;
  fail(error: ApiError): void;
}

export class StreamedAnswer implements Answer {
  readonly #response: ServerResponse;
  readonly #stamp: AnswerStamp;
  readonly #includeUsage: boolean;
  readonly #edgeTail: boolean;

  constructor(
    response: ServerResponse,
    stamp: AnswerStamp,
    options: { includeUsage: boolean; edgeTail: boolean },
  ) {
    this.#response = response;
    this.#stamp = stamp;
    this.#includeUsage = options.includeUsage;
    this.#edgeTail = options.edgeTail;
  }

  token(text: string): void {
    if (this.#response.destroyed) return;
    let chunks = "";
    if (!this.#response.headersSent) {
      this.#response.writeHead(200, {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
      });
      chunks = this.#chunk({ role: "assistant", content: "" }, null);
    }
    if (text) chunks += this.#chunk({ content: text }, null);
    if (chunks) this.#response.write(chunks);
  }

  finish(text: string, reason: FinishReason, usage: AnswerUsage): void {
    if (this.#response.destroyed) return;
    let chunks = text ? this.#chunk({ content: text }, null) : "";
    if (!this.#edgeTail) {
      chunks += this.#chunk({}, reason);
      if (this.#includeUsage) chunks += this.#event({ choices: [], usage: usageBody(usage) });
      chunks += "data: [DONE]\n\n";
    }
    this.#response.end(chunks);
  }

  fail(error: ApiError): void {
    if (this.#response.destroyed) return;
    if (!this.#response.headersSent) sendError(this.#response, error);
    // The edge writes the error event, and knows from the broken body that it must.
    else if (this.#edgeTail) this.#response.destroy();
    else this.#response.end(`data: ${JSON.stringify(error.body)}\n\n`);
  }

  #chunk(delta: object, finishReason: FinishReason | null): string {
    const choices = [{ index: 0, delta, logprobs: null, finish_reason: finishReason }];
    return this.#event(this.#includeUsage && !this.#edgeTail ? { choices, usage: null } : { choices });
  }

  #event(rest: object): string {
    const { id, created, model } = this.#stamp;
    return `data: ${JSON.stringify({ id, object: "chat.completion.chunk", created, model, ...rest })}\n\n`;
  }
}

export class WholeAnswer implements Answer {
  readonly #response: ServerResponse;
  readonly #stamp: AnswerStamp;
  readonly #texts: string[] = [];

  constructor(response: ServerResponse, stamp: AnswerStamp) {
    this.#response = response;
    this.#stamp = stamp;
  }

  token(text: string): void {
    if (text) this.#texts.push(text);
  }

  finish(text: string, reason: FinishReason, usage: AnswerUsage): void {
    const { id, created, model } = this.#stamp;
    const message = { role: "assistant", content: this.#texts.join("") + text, refusal: null };
    sendJson(this.#response, 200, {
      id,
      object: "chat.completion",
      created,
      model,
      choices: [{ index: 0, message, logprobs: null, finish_reason: reason }],
      usage: usageBody(usage),
    });
  }

  fail(error: ApiError): void {
    sendError(this.#response, error);
  }
}

function usageBody(usage: AnswerUsage): object {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    prompt_tokens_details: { cached_tokens: usage.cachedTokens },
  };
}

/** To a client that has left: nothing. */
export function sendJson(response: ServerResponse, status: number, body: object): void {
  if (response.destroyed) return;
  const text = JSON.stringify(body);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}

export function sendError(response: ServerResponse, error: ApiError): void {
  if (error.retryAfterSeconds !== undefined) response.setHeader("retry-after", error.retryAfterSeconds);
  sendJson(response, error.status, error.body);
}
