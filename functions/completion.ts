/**
 * THE WAY OF ONE REQUEST. Six steps; each one's file is named here.
 *
 *   1 authenticate and admit   auth/bearer.ts, admission/bound.ts, admission/lease.ts -> objects/account.ts
 *   2 route                    fleet/snapshot.ts, fleet/view.ts -> router/place.ts
 *   3 dispatch                 dispatch/open.ts: attempts until a first token
 *   4 stream                   dispatch/stream.ts (relay.ts or forward.ts), dispatch/whole.ts
 *   5 settle                   admission/lease.ts -> objects/ledger.ts
 *   6 tell                     objects/account.ts (the outbox) -> usage/project.ts
 */
import type { Context } from "hono";
import { place } from "../router/place.ts";
import { inputBound, outputBound } from "./admission/bound.ts";
import { admit } from "./admission/lease.ts";
import type { AppEnv } from "./app.ts";
import { accountObject } from "./auth/accounts.ts";
import { SECOND_MS } from "./clock.ts";
import { limitHeaders } from "./dispatch/headers.ts";
import { open } from "./dispatch/open.ts";
import type { Run } from "./dispatch/run.ts";
import { streamed } from "./dispatch/stream.ts";
import { whole } from "./dispatch/whole.ts";
import { noBackend, notFound, Refusal } from "./errors.ts";
import { priceOf, snapshot } from "./fleet/snapshot.ts";
import { fleetView } from "./fleet/view.ts";
import { answerId } from "./ids.ts";
import { readJson } from "./surfaces/openai/body.ts";
import { errorResponse } from "./surfaces/openai/errors.ts";
import { parseChatRequest } from "./surfaces/openai/schema.ts";

/** From the deadline of a request to the expiry of its reservation: the edge's own settlement comes first. */
const GRACE_MS = 30 * SECOND_MS;

export async function completion(c: Context<AppEnv>): Promise<Response> {
  const { env } = c;
  const waitUntil = (work: Promise<unknown>) => c.executionCtx.waitUntil(work);
  const startedAt = Date.now();
  const requestId = c.get("requestId");
  const presented = c.get("presented");

  const request = parseChatRequest(await readJson(c.req.raw));
  if ("status" in request) return errorResponse(request);
  const view = await snapshot(env, waitUntil);
  const model = view.models.get(request.model);
  const price = model && priceOf(view, model.id, startedAt);
  // A model without a price is refused before anything is dispatched: unknown is not free.
  if (!model || !price)
    throw new Refusal(
      notFound(`No model '${request.model}'. GET /v1/models lists them.`, "model_not_found", "model"),
    );
  const bound = {
    maxInput: inputBound(request.messages, model.contextLength),
    maxOutput: outputBound(request.maxTokens, model.defaultMaxOutputTokens, model.contextLength),
  };

  // Routed on the snapshot before the admission's round trip, which carries the first placement.
  const deadlineAt = startedAt + Number(env.REQUEST_DEADLINE_MS);
  const route = {
    model: model.id,
    promptTokens: bound.maxInput,
    maxOutput: bound.maxOutput,
    blocks: [],
    salt: presented.account,
  };
  const asked = { ...route, edgeZone: "", preferences: {}, exclude: [], budgetMs: deadlineAt - startedAt };
  const placements = place(asked, fleetView(view), startedAt, Math.random).map(
    (placement) => view.backends.get(placement.decode)!,
  );
  const first = placements[0];
  if (!first) throw new Refusal(noBackend(model.id));

  const holder = accountObject(env, presented.account);
  const admitted = await admit(holder, {
    requestId,
    keyHash: presented.hash,
    model: model.id,
    ...bound,
    price,
    backend: first.id,
    region: first.region,
    deadlineMs: deadlineAt + GRACE_MS,
  });
  if (!admitted.ok) {
    const headers = new Headers();
    limitHeaders(headers, admitted.limits);
    return errorResponse(admitted.error, headers);
  }

  const answer = { id: answerId(requestId), model: model.id, created: Math.floor(startedAt / 1000) };
  const stop = new AbortController();
  const deadline = setTimeout(() => stop.abort("deadline"), deadlineAt - Date.now());
  c.req.raw.signal.addEventListener("abort", () => stop.abort("client_left"));
  const run: Run = {
    env,
    waitUntil,
    requestId,
    request,
    model,
    price,
    bound,
    placements,
    holder,
    admitted,
    answer,
    startedAt,
    deadlineAt,
    stop,
    attempts: [],
    ttftMs: null,
    over: () => clearTimeout(deadline),
  };

  const answering = (request.stream ? streamed : whole)(run, open(run));
  waitUntil(answering);
  return answering;
}
