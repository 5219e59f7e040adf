/** The engine's routes over HTTP. What each promises is in README.md. */
import { createHash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { sendError, sendJson } from "./answer.ts";
import type { AttemptReport } from "./attempts.ts";
import { complete } from "./completion.ts";
import type { Engine } from "./engine.ts";
import { ApiError, invalidValue } from "./error.ts";
import { isAttemptId } from "./headers.ts";

const maxConnections = 4_096;
const heartbeatMs = 15_000;

/** secret: the bearer that every route but /health and /metrics asks for. */
export function createEngineServer(engine: Engine, secret: string): Server {
  const expected = sha256(`Bearer ${secret}`);
  const server = createServer((request, response) => {
    // An answer that cannot be written is the client's leaving, which "close" tells.
    response.on("error", () => {});
    handle(request, response, engine, expected).catch((error: unknown) => {
      if (response.headersSent || response.destroyed) response.destroy();
      else if (error instanceof ApiError) sendError(response, error);
      else {
        console.error("request failed:", error);
        sendError(response, new ApiError(500, "engine_error", "The engine failed on this request."));
      }
    });
  });
  server.maxConnections = maxConnections;
  // The edge keeps connections; a shorter time than its own would race with its next request.
  server.keepAliveTimeout = 75_000;
  return server;
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  engine: Engine,
  expected: Buffer,
): Promise<void> {
  const url = URL.parse(request.url ?? "/", "http://engine");
  const path = url?.pathname ?? "/";
  if (path === "/health") {
    allow(request, response, "GET");
    sendJson(response, 200, health(engine));
    return;
  }
  if (path === "/metrics") {
    allow(request, response, "GET");
    sendMetrics(response, engine);
    return;
  }
  if (!timingSafeEqual(sha256(request.headers.authorization ?? ""), expected)) {
    response.setHeader("www-authenticate", "Bearer");
    throw new ApiError(401, "invalid_api_key", "The bearer is missing or wrong.");
  }
  if (path === "/v1/chat/completions") {
    allow(request, response, "POST");
    await complete(request, response, engine);
    return;
  }
  if (path === "/v1/models") {
    allow(request, response, "GET");
    sendJson(response, 200, models(engine));
    return;
  }
  const id = /^\/causeway\/v1\/attempts\/([^/]+)$/.exec(path)?.[1];
  if (id === undefined) throw new ApiError(404, "not_found", `There is nothing at ${path.slice(0, 200)}.`);
  if (!isAttemptId(id)) throw invalidValue("id", "An attempt id is 1 to 100 of A-Z a-z 0-9 _ . -.");
  allow(request, response, "GET", "DELETE");
  if (request.method === "DELETE") {
    sendJson(
      response,
      200,
      engine.attempts.abort(id, { code: "aborted", message: "The attempt was aborted." }),
    );
  } else if (url?.searchParams.get("wait") === "end") {
    reportAtEnd(response, engine, id);
  } else {
    const report = engine.attempts.report(id);
    sendJson(response, report.state === "unknown" ? 404 : 200, report);
  }
}

function allow(request: IncomingMessage, response: ServerResponse, ...methods: string[]): void {
  if (methods.includes(request.method ?? "")) return;
  response.setHeader("allow", methods.join(", "));
  throw new ApiError(405, "method_not_allowed", `This path takes ${methods.join(" and ")}.`);
}

function health(engine: Engine): object {
  return {
    status: engine.status,
    model: engine.model?.name ?? null,
    region: engine.region,
    boot_id: engine.bootId,
    running: engine.model?.scheduler.running ?? 0,
    waiting: engine.model?.scheduler.waiting ?? 0,
  };
}

function sendMetrics(response: ServerResponse, engine: Engine): void {
  const { model } = engine;
  const text = engine.metrics.text({
    model: model?.name ?? "",
    running: model?.scheduler.running ?? 0,
    waiting: model?.scheduler.waiting ?? 0,
    cacheUse: model?.cache.use ?? 0,
    cacheBytesPerToken: model?.cache.bytesPerToken ?? 0,
    steps: model?.scheduler.totals.steps ?? 0,
    computedTokens: model?.scheduler.totals.tokens ?? 0,
    weightBytes: model?.scheduler.totals.weightBytes ?? 0,
  });
  response.writeHead(200, {
    "content-type": "text/plain; version=0.0.4; charset=utf-8",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}

function models(engine: Engine): object {
  const { model } = engine;
  const data = model
    ? [
        {
          id: model.name,
          object: "model",
          created: 0,
          owned_by: "causeway",
          max_model_len: model.contextLength,
        },
      ]
    : [];
  return { object: "list", data };
}

/** Headers at once, a space now and then so that nothing between takes the connection for dead, the report at the end. */
function reportAtEnd(response: ServerResponse, engine: Engine, id: string): void {
  response.writeHead(200, { "content-type": "application/json", "cache-control": "no-store" });
  response.flushHeaders();
  const heartbeat = setInterval(() => response.write(" "), heartbeatMs);
  const cancel = engine.attempts.waitForEnd(id, (report: AttemptReport) => {
    clearInterval(heartbeat);
    if (!response.destroyed) response.end(JSON.stringify(report));
  });
  response.on("close", () => {
    clearInterval(heartbeat);
    cancel();
  });
}

/** Compared as hashes: equal in length whatever was sent. */
function sha256(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
