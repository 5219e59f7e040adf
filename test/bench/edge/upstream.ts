/**
 * The upstream of the edge benchmark, a process of its own: the same bytes for every gateway, as cheap as Node makes
 * them. `max_tokens` is how many chunks it streams; each is a write of its own. It keeps the attempt contract
 * (engine/server/README.md) for requests that ask for it, and speaks plain OpenAI to everybody else.
 *
 *   node test/bench/edge/upstream.ts     prints its port; ends with its parent
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

interface Asked {
  model: string;
  max_tokens: number;
  stream?: boolean;
  stream_options?: { include_usage?: boolean };
}

const PROMPT_TOKENS = 12;
/** The audit asks for lately ended ones again. */
const KEPT_ATTEMPTS = 50_000;
const attempts = new Map<string, { tokens: number; done: boolean; waiters: (() => void)[] }>();
/** Requests that wait for the parent's word: the cap test needs all of them undecided. */
let held: (() => void)[] | undefined;

process.on("message", (word: "hold" | "release") => {
  if (word === "hold") held = [];
  else for (const go of held?.splice(0) ?? []) go();
  if (word === "release") held = undefined;
});
process.on("disconnect", () => process.exit(0));

const server = createServer((request, response) => void serve(request, response));
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url!;
  if (path.startsWith("/causeway/v1/attempts/")) return report(path.slice(22), response);
  if (request.method === "GET") return health(path, response);
  let text = "";
  for await (const chunk of request) text += chunk;
  if (held) await new Promise<void>((go) => held!.push(go));
  const asked = JSON.parse(text) as Asked;
  if (asked.stream) stream(asked, request, response);
  else whole(asked, response);
}

function stream(asked: Asked, { headers }: IncomingMessage, response: ServerResponse): void {
  const id = headers["x-causeway-attempt-id"] as string | undefined;
  const attempt = id === undefined ? undefined : attemptOf(id);
  const about = {
    id: headers["x-causeway-answer-id"] ?? "chatcmpl-upstream",
    object: "chat.completion.chunk",
    created: Number(headers["x-causeway-answer-created"] ?? 1_800_000_000),
    model: headers["x-causeway-answer-model"] ?? asked.model,
  };
  const line = (choice: object, more: object = {}) =>
    `data: ${JSON.stringify({ ...about, choices: [{ index: 0, finish_reason: null, ...choice }], ...more })}\n\n`;
  const token = line({ delta: { content: " token" } });
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write(line({ delta: { role: "assistant", content: "" } }));
  let sent = 0;
  // One write a turn of the event loop, so that chunks travel as chunks.
  const next = () => {
    if (response.destroyed) return;
    if (sent++ < asked.max_tokens) {
      response.write(token, () => setImmediate(next));
      return;
    }
    if (headers["x-causeway-tail"] !== "edge") {
      const usage = usageOf(asked.max_tokens);
      response.write(line({ delta: {}, finish_reason: "length" }));
      if (asked.stream_options?.include_usage)
        response.write(`data: ${JSON.stringify({ ...about, choices: [], usage })}\n\n`);
      response.write("data: [DONE]\n\n");
    }
    response.end();
    if (attempt) {
      attempt.tokens = asked.max_tokens;
      attempt.done = true;
      for (const tell of attempt.waiters.splice(0)) tell();
    }
  };
  next();
}

function whole(asked: Asked, response: ServerResponse): void {
  const message = { role: "assistant", content: " token".repeat(asked.max_tokens) };
  const body = JSON.stringify({
    id: "chatcmpl-upstream",
    object: "chat.completion",
    created: 1_800_000_000,
    model: asked.model,
    choices: [{ index: 0, message, finish_reason: "length" }],
    usage: usageOf(asked.max_tokens),
  });
  response.writeHead(200, { "content-type": "application/json" }).end(body);
}

function report(path: string, response: ServerResponse): void {
  const [id, query] = path.split("?") as [string, string | undefined];
  const waits = query === "wait=end";
  const attempt = waits ? attemptOf(id) : attempts.get(id);
  const state = () => (attempt === undefined ? "unknown" : attempt.done ? "done" : "running");
  const answer = () =>
    response.end(
      JSON.stringify({
        id,
        boot_id: "bench",
        state: state(),
        finish_reason: attempt?.done ? "length" : null,
        prompt_tokens: PROMPT_TOKENS,
        cached_tokens: 0,
        completion_tokens: attempt?.tokens ?? 0,
      }),
    );
  response.writeHead(attempt === undefined ? 404 : 200, { "content-type": "application/json" });
  if (!waits || attempt!.done) return void answer();
  response.flushHeaders();
  attempt!.waiters.push(answer);
}

function health(path: string, response: ServerResponse): void {
  const json = { "content-type": "application/json" };
  if (path.startsWith("/health"))
    response.writeHead(200, json).end('{"status":"ok","running":0,"waiting":0,"boot_id":"bench"}');
  else response.writeHead(404, json).end("{}");
}

function attemptOf(id: string) {
  let attempt = attempts.get(id);
  if (!attempt) {
    attempt = { tokens: 0, done: false, waiters: [] };
    attempts.set(id, attempt);
    if (attempts.size > KEPT_ATTEMPTS) attempts.delete(attempts.keys().next().value!);
  }
  return attempt;
}

function usageOf(tokens: number) {
  return { prompt_tokens: PROMPT_TOKENS, completion_tokens: tokens, total_tokens: PROMPT_TOKENS + tokens };
}
