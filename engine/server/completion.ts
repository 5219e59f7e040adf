/**
 * `POST /v1/chat/completions`, from its headers to a running sequence: read, parse, render, count, accept. After the
 * acceptance the answer writes itself (generation.ts); here only the ways to abort it are tied: the client's
 * leaving, a reader that does not read, the deadline, DELETE.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Sampler } from "../sampling/sampler.ts";
import { Sequence } from "../scheduler/sequence.ts";
import { TemplateError } from "../tokenizer/chat-template.ts";
import { type Answer, StreamedAnswer, WholeAnswer } from "./answer.ts";
import type { AttemptProblem } from "./attempts.ts";
import { readJsonBody } from "./body.ts";
import type { Engine, LoadedModel } from "./engine.ts";
import { ApiError } from "./error.ts";
import { Generation } from "./generation.ts";
import { type AttemptHeaders, readAttemptHeaders } from "./headers.ts";
import { type ChatRequest, parseChatRequest } from "./schema.ts";

const maxUnreadBytes = 8 * 1024 * 1024;

/** Errors: ApiError, thrown while nothing has been accepted or written. */
export async function complete(
  request: IncomingMessage,
  response: ServerResponse,
  engine: Engine,
): Promise<void> {
  const receivedAtMs = engine.now();
  const headers = readAttemptHeaders(request.headers);
  response.setHeader("x-causeway-attempt-id", headers.attemptId);
  const chat = parseChatRequest(await readJsonBody(request));
  const model = engine.serving();
  if (chat.model !== model.name) {
    throw new ApiError(
      404,
      "model_not_found",
      `The model ${JSON.stringify(chat.model.slice(0, 100))} does not exist here.`,
      {
        param: "model",
      },
    );
  }
  const prompt = encodePrompt(chat, model);
  // From here to the submission nothing waits: what is checked still holds when it is used.
  refuseKnownAttempt(engine, headers.attemptId);
  const deadlineAtMs = receivedAtMs + (headers.deadlineMs ?? 0);
  if (headers.deadlineMs !== undefined && engine.now() >= deadlineAtMs) throw deadlineExceeded();
  if (response.destroyed) return;
  if (!model.scheduler.hasRoom) {
    throw new ApiError(503, "queue_full", "Too many requests are waiting.", { retryAfterSeconds: 1 });
  }
  accept(response, engine, model, chat, headers, prompt, deadlineAtMs);
}

function encodePrompt(chat: ChatRequest, model: LoadedModel): number[] {
  const tooLong = (has: string) =>
    new ApiError(
      400,
      "context_length_exceeded",
      `This model's maximum context length is ${model.contextLength} tokens, and one must be left for the answer. The prompt has ${has}.`,
      { param: "messages" },
    );
  let text: string;
  try {
    text = model.template.render(chat.messages);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new ApiError(400, "template_error", `The chat template refuses these messages: ${error.message}`, {
      param: "messages",
    });
  }
  // A text that cannot fit is not encoded at all: encoding megabytes would hold up everyone else.
  if (model.tokenizer.isCertainlyLongerThan(text, model.contextLength)) throw tooLong("more");
  const prompt = model.tokenizer.encode(text);
  if (prompt.length >= model.contextLength) throw tooLong(`${prompt.length}`);
  if (prompt.length === 0)
    throw new ApiError(400, "invalid_value", "The prompt is empty.", { param: "messages" });
  return prompt;
}

function refuseKnownAttempt(engine: Engine, id: string): void {
  const known = engine.attempts.find(id);
  if (!known) return;
  const aborted = known.status.state === "aborted" && known.promptTokens === 0;
  throw aborted
    ? new ApiError(409, "attempt_aborted", "This attempt was aborted before it began.", {
        param: "x-causeway-attempt-id",
      })
    : new ApiError(409, "attempt_exists", "An attempt with this id exists.", {
        param: "x-causeway-attempt-id",
      });
}

function accept(
  response: ServerResponse,
  engine: Engine,
  model: LoadedModel,
  chat: ChatRequest,
  headers: AttemptHeaders,
  prompt: number[],
  deadlineAtMs: number,
): void {
  const stamp = {
    id: headers.answerId ?? `chatcmpl-${headers.attemptId}`,
    model: headers.answerModel ?? model.name,
    created: headers.answerCreated ?? Math.floor(Date.now() / 1000),
  };
  const answer: Answer = chat.stream
    ? new StreamedAnswer(response, stamp, { ...chat, ...headers })
    : new WholeAnswer(response, stamp);
  const attempt = engine.attempts.begin(headers.attemptId, deadlineAtMs);
  const generation = new Generation({
    attempts: engine.attempts,
    attempt,
    answer: abortingWhenUnread(answer, response, () => {
      attempt.abort(problems.readerTooSlow);
      response.destroy();
    }),
    promptTokens: prompt.length,
    endTokens: model.endTokens,
    tokenizer: model.tokenizer,
    stops: chat.stops,
  });
  const room = model.contextLength - prompt.length;
  const sequence = new Sequence({
    prompt,
    maxTokens: Math.min(chat.maxTokens ?? room, room),
    endTokens: model.endTokens,
    sampler: new Sampler({
      temperature: chat.temperature ?? model.defaultTemperature,
      topP: chat.topP ?? model.defaultTopP,
      seed: chat.seed,
    }),
    cacheSalt: headers.cacheSalt,
    listener: generation,
  });
  attempt.abort = (problem) => {
    generation.problem = problem;
    model.scheduler.abort(sequence);
  };
  response.on("close", () => attempt.abort(problems.clientClosed));
  if (headers.deadlineMs !== undefined) {
    const timer = setTimeout(() => attempt.abort(problems.deadline), deadlineAtMs - engine.now());
    attempt.whenEnded.add(() => clearTimeout(timer));
  }
  model.scheduler.submit(sequence);
}

const problems = {
  clientClosed: { code: "client_closed", message: "The client closed its connection." },
  readerTooSlow: { code: "reader_too_slow", message: `The client left ${maxUnreadBytes} bytes unread.` },
  deadline: { code: "deadline_exceeded", message: "The attempt's deadline has passed." },
} satisfies Record<string, AttemptProblem>;

function deadlineExceeded(): ApiError {
  return new ApiError(504, problems.deadline.code, problems.deadline.message);
}

/** What a client does not read waits in our memory; past the limit it is taken for gone. */
function abortingWhenUnread(answer: Answer, response: ServerResponse, abort: () => void): Answer {
  return {
    token(text) {
      answer.token(text);
      if (response.writableLength > maxUnreadBytes) abort();
    },
    finish: (text, reason, usage) => answer.finish(text, reason, usage),
    fail: (error) => answer.fail(error),
  };
}
