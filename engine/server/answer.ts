/**
 * An answer on its way to the client, as a stream of chunks or whole. Nothing is written before the first token:
 * until then the edge may still send the request elsewhere.
 */
import type { ServerResponse } from "node:http";
import type { Delta } from "../tool-calls/parser.ts";
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

/** choice: which of the request's answers, from 0. */
export interface Answer {
  /** A token was computed; it may have made no delta. */
  token(choice: number, deltas: readonly Delta[]): void;
  /** A choice is complete, with what was held back of it. */
  finish(choice: number, deltas: readonly Delta[], reason: FinishReason): void;
  /** Every choice is complete. */
  end(usage: AnswerUsage): void;
  fail(error: ApiError): void;
}

/**
 * After this long without a byte a stream gets a comment line. Between the engine and a client that left may lie a
 * native pipe, which notices nothing until it has something to write.
 */
export const heartbeatMs = 1_000;
const heartbeat = ": at work\n\n";

export class StreamedAnswer implements Answer {
  readonly #response: ServerResponse;
  readonly #stamp: AnswerStamp;
  readonly #includeUsage: boolean;
  readonly #edgeTail: boolean;
  /** Runs from the first byte on. */
  #heartbeat: NodeJS.Timeout | undefined;
  /** Choices whose first chunk has been written. */
  readonly #begun = new Set<number>();

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

  token(choice: number, deltas: readonly Delta[]): void {
    if (this.#response.destroyed) return;
    if (!this.#response.headersSent) {
      this.#response.writeHead(200, {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
      });
      this.#beat();
    }
    const first = this.#begun.has(choice)
      ? ""
      : this.#chunk(choice, { role: "assistant", content: "" }, null);
    this.#begun.add(choice);
    const chunks = first + this.#chunks(choice, deltas);
    if (!chunks) return;
    this.#response.write(chunks);
    this.#heartbeat?.refresh();
  }

  finish(choice: number, deltas: readonly Delta[], reason: FinishReason): void {
    if (this.#response.destroyed) return;
    const chunks = this.#chunks(choice, deltas) + (this.#edgeTail ? "" : this.#chunk(choice, {}, reason));
    if (chunks) this.#response.write(chunks);
  }

  end(usage: AnswerUsage): void {
    clearInterval(this.#heartbeat);
    if (this.#response.destroyed) return;
    if (this.#edgeTail) this.#response.end();
    else {
      const asked = this.#includeUsage ? this.#event({ choices: [], usage: usageBody(usage) }) : "";
      this.#response.end(`${asked}data: [DONE]\n\n`);
    }
  }

  fail(error: ApiError): void {
    clearInterval(this.#heartbeat);
    if (this.#response.destroyed) return;
    if (!this.#response.headersSent) sendError(this.#response, error);
    // The edge writes the error event, and knows from the broken body that it must.
    else if (this.#edgeTail) this.#response.destroy();
    else this.#response.end(`data: ${JSON.stringify(error.body)}\n\n`);
  }

  #beat(): void {
    this.#heartbeat = setInterval(() => this.#response.write(heartbeat), heartbeatMs);
    this.#response.once("close", () => clearInterval(this.#heartbeat));
  }

  #chunks(choice: number, deltas: readonly Delta[]): string {
    return deltas.map((delta) => this.#chunk(choice, deltaBody(delta), null)).join("");
  }

  #chunk(choice: number, delta: object, finishReason: FinishReason | null): string {
    const choices = [{ index: choice, delta, logprobs: null, finish_reason: finishReason }];
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
  readonly #choices: WholeChoice[] = [];

  constructor(response: ServerResponse, stamp: AnswerStamp) {
    this.#response = response;
    this.#stamp = stamp;
  }

  token(choice: number, deltas: readonly Delta[]): void {
    this.#choice(choice).add(deltas);
  }

  finish(choice: number, deltas: readonly Delta[], reason: FinishReason): void {
    this.#choice(choice).add(deltas);
    this.#choice(choice).reason = reason;
  }

  end(usage: AnswerUsage): void {
    const { id, created, model } = this.#stamp;
    const choices = this.#choices.map((choice, index) => ({ index, ...choice.body }));
    const body = { id, object: "chat.completion", created, model, choices, usage: usageBody(usage) };
    sendJson(this.#response, 200, body);
  }

  #choice(index: number): WholeChoice {
    this.#choices[index] ??= new WholeChoice();
    return this.#choices[index];
  }

  fail(error: ApiError): void {
    sendError(this.#response, error);
  }
}

/** Deltas put together again. */
class WholeChoice {
  reason: FinishReason | undefined;
  readonly #texts: string[] = [];
  readonly #calls: { id: string; name: string; arguments: string[] }[] = [];

  add(deltas: readonly Delta[]): void {
    for (const delta of deltas) {
      if (delta.kind === "content") this.#texts.push(delta.text);
      else if (delta.kind === "call") this.#calls.push({ id: delta.id, name: delta.name, arguments: [] });
      else this.#calls[delta.index].arguments.push(delta.text);
    }
  }

  get body(): object {
    const content = this.#texts.join("");
    const calls = this.#calls.map((call) => ({
      id: call.id,
      type: "function",
      function: { name: call.name, arguments: call.arguments.join("") },
    }));
    const message =
      calls.length > 0
        ? { role: "assistant", content: content || null, refusal: null, tool_calls: calls }
        : { role: "assistant", content, refusal: null };
    return { message, logprobs: null, finish_reason: this.reason };
  }
}

function deltaBody(delta: Delta): object {
  switch (delta.kind) {
    case "content":
      return { content: delta.text };
    case "call": {
      const { index, id, name } = delta;
      return { tool_calls: [{ index, id, type: "function", function: { name, arguments: "" } }] };
    }
    case "arguments":
      return { tool_calls: [{ index: delta.index, function: { arguments: delta.text } }] };
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
