/**
 * `POST /v1/chat/completions`, from its headers to a running sequence: read, parse, render, count, accept. After the
 * acceptance the answer writes itself (generation.ts); here only the ways to abort it are tied: the client's
 * leaving, a reader too slow (reader.ts), the deadline, DELETE.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Opening } from "../sampling/opening.ts";
import { Sampler } from "../sampling/sampler.ts";
import { Sequence } from "../scheduler/sequence.ts";
import { Detokenizer } from "../tokenizer/detokenizer.ts";
import { StopStrings } from "../tokenizer/stop-strings.ts";
import { AnswerParser } from "../tool-calls/parser.ts";
import { openingsOf } from "../tool-calls/tokens.ts";
import { type Answer, StreamedAnswer, WholeAnswer } from "./answer.ts";
import type { AttemptProblem } from "./attempts.ts";
import { readJsonBody } from "./body.ts";
import { Choice } from "./choice.ts";
import type { Engine, LoadedModel } from "./engine.ts";
import { ApiError } from "./error.ts";
import { Generation } from "./generation.ts";
import { type AttemptHeaders, readAttemptHeaders } from "./headers.ts";
import { encodePrompt } from "./prompt.ts";
import { whileRead } from "./reader.ts";
import { type ChatRequest, parseChatRequest } from "./schema.ts";

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
  if (chat.tools.length > 0 && !model.toolTokens) {
    throw new ApiError(400, "unsupported_parameter", "This model cannot call tools.", { param: "tools" });
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
  accept(response, engine, model, chat, headers, prompt, { receivedAtMs, deadlineAtMs });
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
  { receivedAtMs, deadlineAtMs }: { receivedAtMs: number; deadlineAtMs: number },
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
    metrics: engine.metrics,
    now: engine.now,
    receivedAtMs,
    attempt,
    answer: whileRead(answer, response, attempt),
    promptTokens: prompt.length,
    choices: chat.n,
  });
  const sequences = sequencesOf(chat, model, headers, prompt, generation);
  generation.stopSequences = () => {
    for (const sequence of sequences) model.scheduler.abort(sequence);
  };
  attempt.abort = (problem) => generation.abort(problem);
  response.on("close", () => attempt.abort(problems.clientClosed));
  if (headers.deadlineMs !== undefined) {
    const timer = setTimeout(
      () => attempt.abort(problems.deadline),
      Math.max(1, deadlineAtMs - engine.now()),
    );
    attempt.whenEnded.add(() => clearTimeout(timer));
  }
  model.scheduler.submit(...sequences);
}

/** One a choice. The first computes the prompt, which the others then find in the cache. */
function sequencesOf(
  chat: ChatRequest,
  model: LoadedModel,
  headers: AttemptHeaders,
  prompt: number[],
  generation: Generation,
): Sequence[] {
  const { tokenizer, toolTokens, endTokens } = model;
  const room = model.contextLength - prompt.length;
  const callsTools = chat.tools.length > 0 && chat.toolChoice !== "none";
  const sequences: Sequence[] = [];
  for (let i = 0; i < chat.n; i++) {
    const parser = new AnswerParser(toolTokens, new Detokenizer(tokenizer), new StopStrings(chat.stops));
    const maxCalls = chat.parallelToolCalls ? Number.POSITIVE_INFINITY : 1;
    const sequence = new Sequence({
      prompt,
      maxTokens: Math.min(chat.maxTokens ?? room, room),
      endTokens,
      sampler: new Sampler({
        temperature: chat.temperature ?? model.defaultTemperature,
        topP: chat.topP ?? model.defaultTopP,
        topK: chat.topK,
        presencePenalty: chat.presencePenalty,
        frequencyPenalty: chat.frequencyPenalty,
        seed: Number.isSafeInteger(chat.seed + i) ? chat.seed + i : chat.seed - i,
        banned: toolTokens && !callsTools ? [toolTokens.callsBegin, toolTokens.callBegin] : [],
        opening: openingOf(chat, model),
      }),
      cacheSalt: headers.cacheSalt,
      listener: new Choice(i, generation, parser, { endTokens, maxCalls }),
      after: sequences[0],
    });
    sequences.push(sequence);
  }
  return sequences;
}

/** Where a tool must be called, its call's beginning. */
function openingOf({ tools, toolChoice }: ChatRequest, model: LoadedModel): Opening | undefined {
  if (toolChoice === "none" || toolChoice === "auto" || !model.toolTokens) return undefined;
  const names = toolChoice === "required" ? tools.map((tool) => tool.function.name) : [toolChoice.name];
  return new Opening(openingsOf(names, model.toolTokens, model.tokenizer));
}

const problems = {
  clientClosed: { code: "client_closed", message: "The client closed its connection." },
  deadline: { code: "deadline_exceeded", message: "The attempt's deadline has passed." },
} satisfies Record<string, AttemptProblem>;

function deadlineExceeded(): ApiError {
  return new ApiError(504, problems.deadline.code, problems.deadline.message);
}
