/**
 * THE WAY OF ONE REQUEST. Six steps; each one's file is named here.
 *
 *   1 authenticate and admit   auth/bearer.ts, admission/bound.ts, admission/within.ts -> objects/account.ts
 *   2 route                    fleet/snapshot.ts, fleet/route.ts -> router/place.ts, objects/pool.ts
 *   3 dispatch                 dispatch/open.ts: attempts until a first token
 *   4 stream                   dispatch/stream.ts (relay.ts or forward.ts), dispatch/whole.ts
 *   5 settle                   admission/lease.ts -> objects/ledger.ts
 *   6 tell                     objects/account.ts (the outbox) -> usage/project.ts
 */
import type { Context } from "hono";
import { inputBound, outputBound } from "./admission/bound.ts";
import { onceOf } from "./admission/idempotency.ts";
import { admitWithin } from "./admission/within.ts";
import type { AppEnv } from "./app.ts";
import { accountObject } from "./auth/accounts.ts";
import { SECOND_MS } from "./clock.ts";
import { nobodyServes } from "./dispatch/dialects/serves.ts";
import { limitHeaders } from "./dispatch/headers.ts";
import { open } from "./dispatch/open.ts";
import type { Run } from "./dispatch/run.ts";
import { release } from "./dispatch/slot.ts";
import { streamed } from "./dispatch/stream.ts";
import { Trace } from "./dispatch/trace.ts";
import { whole } from "./dispatch/whole.ts";
import { settings } from "./env.ts";
import { notFound, Refusal } from "./errors.ts";
import { count } from "./fleet/retries.ts";
import { type Ask, explained, promptOf, refreshFleet } from "./fleet/route.ts";
import { backendsOf, priceOf, snapshot } from "./fleet/snapshot.ts";
import { answerId } from "./ids.ts";
import { type Body, readBody } from "./surfaces/openai/body.ts";
import { errorResponse } from "./surfaces/openai/errors.ts";
import { parseChatRequest } from "./surfaces/openai/schema.ts";

/** From the deadline of a request to the expiry of its reservation: the edge's own settlement comes first. */
const GRACE_MS = 30 * SECOND_MS;

export async function completion(c: Context<AppEnv>): Promise<Response> {
  const body = await readBody(c.req.raw, { uploadMs: settings(c.env).uploadMs });
  try {
    return await complete(c, body);
  } catch (error) {
    body.release();
    throw error;
  }
}

async function complete(c: Context<AppEnv>, body: Body): Promise<Response> {
  const { env } = c;
  const waitUntil = (work: Promise<unknown>) => c.executionCtx.waitUntil(work);
  const startedAt = Date.now();
  const { requestDeadlineMs } = settings(env);
  const requestId = c.get("requestId");
  const presented = c.get("presented");

  const request = parseChatRequest(body.value);
  if ("status" in request) throw new Refusal(request);
  const view = await snapshot(env, waitUntil);
  const model = view.models.get(request.model);
  const price = model && priceOf(view, model.id, startedAt);
  // A model without a price is refused before anything is dispatched: unknown is not free.
  if (!model || !price)
    throw new Refusal(
      notFound(`No model '${request.model}'. GET /v1/models lists them.`, "model_not_found", "model"),
    );
  const unserved = nobodyServes(backendsOf(view, model.id), request);
  if (unserved) throw new Refusal(unserved);
  const bound = {
    maxInput: inputBound(request, model.contextLength),
    maxOutput: outputBound(request, model.defaultMaxOutputTokens, model.contextLength),
  };

  // Routed on what this isolate knows, before the admission's round trip, which carries the first placement.
  const deadlineAt = startedAt + requestDeadlineMs;
  const from = placeOf(c.req.raw.cf);
  const ask: Ask = {
    request,
    model: model.id,
    bound,
    salt: presented.account,
    from,
    deadlineAt,
    ...promptOf(request, bound),
  };
  waitUntil(refreshFleet(env, view, model.id));
  const once = await onceOf(c, body.value);
  const holder = accountObject(env, presented.account);
  const query = {
    requestId,
    keyHash: presented.hash,
    model: model.id,
    ...bound,
    price,
    deadlineMs: deadlineAt + GRACE_MS,
    ...(once && { once }),
  };
  const { admitted, predicted } = await admitWithin(env, holder, presented, view, ask, query);
  if (!admitted.ok) {
    const headers = new Headers();
    limitHeaders(headers, admitted.limits);
    body.release();
    return errorResponse(admitted.error, headers);
  }
  count(model.id);
  const trace = new Trace(startedAt);
  trace.admitted(Date.now());

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
    view,
    ask,
    predicted,
    holder,
    admitted,
    answer,
    startedAt,
    deadlineAt,
    stop,
    attempts: [],
    ttftMs: null,
    trace,
    explanation: c.req.header("x-causeway-explain")
      ? explained(view, ask, admitted.residency, startedAt)
      : undefined,
    slot: undefined,
    over: (end) => {
      clearTimeout(deadline);
      body.release();
      release(run, end);
    },
  };

  const answering = (request.stream ? streamed : whole)(run, open(run));
  waitUntil(answering);
  return answering;
}

/** Where the caller is, as far as the platform says. */
function placeOf(cf: CfProperties | undefined) {
  const latitude = Number(cf?.latitude ?? Number.NaN);
  const longitude = Number(cf?.longitude ?? Number.NaN);
  return Number.isFinite(latitude) && Number.isFinite(longitude) ? { latitude, longitude } : undefined;
}
