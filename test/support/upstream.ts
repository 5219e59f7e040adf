/**
 * A backend whose every word a test decides: it keeps the attempt contract (engine/server/README.md) and can break
 * it at any point. Real sockets, so that the edge meets real deaths.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

export interface Report {
  state: string;
  prompt_tokens: unknown;
  cached_tokens: unknown;
  completion_tokens: unknown;
  finish_reason: string | null;
  finish_reasons?: readonly string[];
}

/** One request to the backend, driven by the test. */
export class Call {
  readonly body: {
    messages: { role: string; content: string }[];
    max_tokens: number;
    n?: number;
    stream: boolean;
  } & Record<string, unknown>;
  readonly headers: IncomingMessage["headers"];
  readonly attempt: string;
  readonly report: Report;
  /** Resolves when the other side has closed, or the attempt was aborted. */
  readonly left: Promise<void>;
  #leave!: () => void;
  readonly #response: ServerResponse;
  #heartbeat: ReturnType<typeof setInterval> | undefined;
  /** Set: no comment line a second while no token comes, as a process that hangs. */
  silent = false;
  #waiters: (() => void)[] = [];

  constructor(request: IncomingMessage, response: ServerResponse, text: string) {
    this.headers = request.headers;
    this.body = JSON.parse(text);
    this.attempt = String(request.headers["x-causeway-attempt-id"] ?? `own-${Math.random()}`);
    this.#response = response;
    this.report = {
      state: "running",
      prompt_tokens: 10,
      cached_tokens: 0,
      completion_tokens: 0,
      finish_reason: null,
    };
    this.left = new Promise((resolve) => {
      this.#leave = resolve;
    });
    response.on("close", () => {
      clearInterval(this.#heartbeat);
      if (this.report.state === "running") this.abort();
      this.#leave();
    });
  }

  get tail(): boolean {
    return this.headers["x-causeway-tail"] === "edge";
  }

  /** Sends headers (once). */
  open(status = 200, headers: Record<string, string> = {}): void {
    if (!this.#response.headersSent) {
      this.#response.writeHead(status, { "content-type": "text/event-stream", ...headers });
      this.#response.flushHeaders();
      this.#heartbeat = setInterval(() => {
        if (!this.silent && !this.ended) this.#response.write(": at work\n\n");
      }, 1_000);
    }
  }

  /** Writes bytes as they are. */
  raw(bytes: string | Uint8Array): void {
    this.open();
    this.#response.write(bytes);
  }

  token(text: string): void {
    this.report.completion_tokens = Number(this.report.completion_tokens) + 1;
    this.raw(`data: ${JSON.stringify(this.chunk({ content: text }))}\n\n`);
  }

  chunk(delta: object, finishReason: string | null = null) {
    return {
      id: this.headers["x-causeway-answer-id"] ?? "upstream",
      object: "chat.completion.chunk",
      created: Number(this.headers["x-causeway-answer-created"] ?? 0),
      model: this.headers["x-causeway-answer-model"] ?? this.body.model,
      choices: [{ index: 0, delta, finish_reason: finishReason }],
    };
  }

  /** Ends the answer as the contract says: the edge's tail, or the whole of OpenAI's. */
  finish(reason = "stop", usage: unknown = this.usage()): void {
    this.open();
    if (!this.tail) {
      this.raw(`data: ${JSON.stringify(this.chunk({}, reason))}\n\n`);
      if (usage !== undefined)
        this.raw(`data: ${JSON.stringify({ ...this.chunk({}), choices: [], usage })}\n\n`);
      this.raw("data: [DONE]\n\n");
    }
    this.end("done", reason);
  }

  usage() {
    return {
      prompt_tokens: this.report.prompt_tokens,
      completion_tokens: this.report.completion_tokens,
      total_tokens: Number(this.report.prompt_tokens) + Number(this.report.completion_tokens),
      prompt_tokens_details: { cached_tokens: this.report.cached_tokens },
    };
  }

  end(state = "done", reason: string | null = null): void {
    this.report.state = state;
    this.report.finish_reason = reason;
    this.report.finish_reasons ??= reason === null ? [] : new Array(this.body.n ?? 1).fill(reason);
    this.#response.end();
    this.#settle();
  }

  refuse(status: number, body: unknown, headers: Record<string, string> = {}): void {
    this.report.state = "failed";
    this.#response.writeHead(status, { "content-type": "application/json", ...headers });
    this.#response.end(JSON.stringify(body));
    this.#settle();
  }

  /** The connection is cut, the process lives. */
  die(): void {
    this.report.state = "failed";
    this.#response.destroy();
    this.#settle();
  }

  abort(): void {
    if (this.report.state === "running") this.report.state = "aborted";
    this.#response.destroy();
    this.#leave();
    this.#settle();
  }

  get ended(): boolean {
    return this.report.state !== "running";
  }

  /** Resolves at the attempt's end. */
  async whenEnded(): Promise<void> {
    if (!this.ended) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  #settle(): void {
    for (const resolve of this.#waiters.splice(0)) resolve();
  }
}

export class Upstream {
  readonly calls: Call[] = [];
  readonly aborts: string[] = [];
  /** What it does with the next calls. */
  behave: (call: Call) => unknown;
  /** Set: attempt reports are answered like this, or not at all. */
  reports: "kept" | "lost" = "kept";
  /** What it says of itself; it counts what runs by itself. */
  health = { status: "ok", code: 200 };
  /** What it answers to `/metrics` and as the ids of `/v1/models`; undefined: 404. */
  metrics: string | undefined;
  models: readonly string[] | undefined;
  readonly secret: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #arrivals: (() => void)[] = [];

  private constructor(secret: string, behave: (call: Call) => unknown) {
    this.secret = secret;
    this.behave = behave;
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  static async start(
    secret: string,
    behave: (call: Call) => unknown = answers("Hello", " there"),
  ): Promise<Upstream> {
    const upstream = new Upstream(secret, behave);
    upstream.#server.listen(0, "127.0.0.1");
    await once(upstream.#server, "listening");
    return upstream;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The n-th call (from 0) once it has arrived. */
  async call(index: number): Promise<Call> {
    while (this.calls.length <= index) await new Promise<void>((resolve) => this.#arrivals.push(resolve));
    return this.calls[index]!;
  }

  /** As a killed process: every connection is reset, nothing listens. */
  async kill(): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url!, "http://upstream");
    if (pathname === "/health") return this.#health(response);
    if (request.headers.authorization !== `Bearer ${this.secret}`) return void response.writeHead(401).end();
    const attempt = /^\/causeway\/v1\/attempts\/(.+)$/.exec(pathname)?.[1];
    if (attempt) return this.#report(attempt, request.method!, searchParams.get("wait") === "end", response);
    if (pathname === "/metrics" && this.metrics !== undefined) return void response.end(this.metrics);
    if (pathname === "/v1/models" && this.models)
      return void response.end(JSON.stringify({ object: "list", data: this.models.map((id) => ({ id })) }));
    if (request.method !== "POST") return void response.writeHead(404).end();
    let text = "";
    for await (const chunk of request) text += chunk;
    const call = new Call(request, response, text);
    this.calls.push(call);
    for (const resolve of this.#arrivals.splice(0)) resolve();
    await this.behave(call);
  }

  #health(response: ServerResponse): void {
    const running = this.calls.filter((call) => !call.ended).length;
    const { status, code } = this.health;
    response.writeHead(code, { "content-type": "application/json" });
    response.end(JSON.stringify({ status, running, waiting: 0, boot_id: "upstream" }));
  }

  async #report(id: string, method: string, wait: boolean, response: ServerResponse): Promise<void> {
    if (this.reports === "lost") return void response.destroy();
    const call = this.calls.find((candidate) => candidate.attempt === id);
    if (method === "DELETE") {
      this.aborts.push(id);
      call?.abort();
    }
    if (wait) {
      response.writeHead(200, { "content-type": "application/json" });
      response.flushHeaders();
      await call?.whenEnded();
    }
    const unknown = {
      state: "unknown",
      prompt_tokens: 0,
      cached_tokens: 0,
      completion_tokens: 0,
      finish_reason: null,
    };
    if (!wait) response.writeHead(call ? 200 : 404, { "content-type": "application/json" });
    response.end(JSON.stringify({ id, boot_id: "upstream", ...(call?.report ?? unknown) }, bigNumbers));
  }
}

/** NaN and Infinity cannot stand in JSON: they go out as a backend's broken serializer would write them. */
function bigNumbers(_key: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

/** A behaviour: these tokens at once, then the end. */
export function answers(...tokens: string[]): (call: Call) => void {
  return (call) => {
    for (const token of tokens) call.token(token);
    call.finish();
  };
}
