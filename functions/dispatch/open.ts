/**
 * From a placement to a first token. Attempts are made one after another, in the router's order, until one has
 * its first token; from then on the answer is that attempt's. One policy for streams and whole answers alike.
 */

import type { Outcome } from "../../router/types.ts";
import { outputOfEach } from "../admission/bound.ts";
import type { AttemptRecord } from "../admission/holder.ts";
import { after } from "../clock.ts";
import { settings } from "../env.ts";
import {
  type ApiError,
  backendFailed,
  backendTimedOut,
  contextExceeded,
  invalid,
  noBackend,
  outsideResidency,
  overloaded,
  quarantined,
} from "../errors.ts";
import { errorOf, type Nowhere } from "../fleet/nowhere.ts";
import { isFailing } from "../fleet/pools.ts";
import { isQuarantined, noteDeath } from "../fleet/quarantine.ts";
import { mayRetry } from "../fleet/retries.ts";
import { takePlace } from "../fleet/route.ts";
import { type Backend, urlAt } from "../fleet/snapshot.ts";
import { type AttemptId, attemptId } from "../ids.ts";
import { dialects } from "./dialects/by-kind.ts";
import type { Dialect, Meaning } from "./dialects/dialect.ts";
import { meaningOf, retryAfterSeconds, saysMore } from "./dialects/refusal.ts";
import { type Asked, cacheSalt, requestBody, requestHeaders } from "./dialects/request.ts";
import { rounded } from "./headers.ts";
import { beginningOf, isCompressed, readEvents } from "./read.ts";
import { askReport, awaitReport, tellStop } from "./report.ts";
import type { EngineEvent, Opened, Opening, Run } from "./run.ts";
import { tell } from "./slot.ts";

const MAX_ATTEMPTS = 4;
const ABORT_MS = 2_000;
/** A token is rarely longer; four of these a token is beyond any answer. */
const MAX_BYTES_A_TOKEN = 2_048;
const MAX_BYTES_BESIDE = 1024 * 1024;
/** A connection that breaks within this, before any answer, was refused. */
const REFUSED_WITHIN_MS = 100;
/** Of a refusal's body: more than its words need. */
const MAX_REFUSAL_BYTES = 8_192;

type Failure = {
  readonly outcome: AttemptRecord["outcome"];
  readonly error: ApiError;
  readonly another: boolean;
  /** It takes no more requests until it has started again. */
  readonly draining?: true;
  /** Its connection was refused: nothing was sent, so going on is no retry. */
  readonly unsent?: true;
  /** It closed the connection over this request. */
  readonly died?: true;
  /** The request is too long for it, which says nothing of it. */
  readonly tooLong?: true;
};
type Failed = { readonly ok: false } & Failure;
type Tried = { readonly ok: true; readonly opened: Opened } | Failed;

/**
 * Tries placements until one has a first token. Goes on where an earlier call left off: what was tried is not tried
 * again, and the attempts of a request have one count. Never throws.
 */
export async function open(run: Run): Promise<Opening> {
  const { allow_fallbacks, order } = run.request.preferences;
  const most = allow_fallbacks === false && !order ? 1 : MAX_ATTEMPTS;
  let failure: Failure | undefined;
  for (let number = run.attempts.length + 1; number <= most; number++) {
    if (isQuarantined(run.ask)) {
      failure = { outcome: "failed", error: quarantined(), another: false };
      break;
    }
    if (failure && !mayRetry(run.model.id, isFree(failure) ? "refused" : "failed")) break;
    const attempt = attemptId(run.requestId, number);
    const excluded = run.attempts.map((tried) => tried.backend);
    const routedAt = Date.now();
    const place = await takePlace(run.env, run.view, run.ask, run.admitted.residency, excluded, attempt);
    const chosen = place.kind === "placed" ? place.backend.id : undefined;
    run.trace.routed(number, routedAt, Date.now(), place.kind, place.ranking, chosen);
    if (place.kind !== "placed") {
      failure ??= { outcome: "refused", error: nowhereError(run, place), another: false };
      break;
    }
    const { backend, placement } = place;
    run.slot = { pool: { region: backend.region, model: run.model.id }, backend, attempt };
    if (number > 1 || backend.id !== run.predicted.id) note(run, attempt, backend);
    const startedAt = Date.now();
    const wasFailing = isFailing(run.slot.pool, backend.id);
    const tried = await tryOne(run, backend, attempt, startedAt, wasFailing);
    const ms = Date.now() - startedAt;
    const record = {
      id: attempt,
      backend: backend.id,
      region: backend.region,
      ms,
      terms: rounded(placement.terms),
    };
    run.trace.attempted(number, startedAt, startedAt + ms, tried.ok ? "served" : tried.outcome);
    if (tried.ok) {
      run.attempts.push({ ...record, outcome: "served" });
      run.ttftMs = Date.now() - run.startedAt;
      tell(run, { backend: backend.id, kind: "served", waitedMs: ms }, false);
      return tried;
    }
    run.attempts.push({ ...record, outcome: tried.outcome });
    tell(run, outcomeOf(backend, tried, ms), true);
    if (tried.died) noteDeath(run.ask, backend.id);
    failure = tried;
    if (!tried.another || run.stop.signal.aborted) break;
  }
  return { ok: false, error: failure?.error ?? noBackend(run.model.id) };
}

/**
 * Another try for an answer that broke off after its first token, where nothing of it was delivered. Undefined: no
 * attempt is left, or none in the retry budget.
 */
export async function openAgain(run: Run): Promise<Opened | undefined> {
  const broken = run.attempts.pop()!;
  run.attempts.push({ ...broken, outcome: "failed" });
  run.trace.ended(Date.now(), "failed");
  tell(run, { backend: broken.backend, kind: "failed" }, true);
  noteDeath(run.ask, broken.backend);
  if (run.stop.signal.aborted || !mayRetry(run.model.id, "failed")) return undefined;
  const again = await open(run);
  return again.ok ? again.opened : undefined;
}

/** What a failure says of the backend: a request that is at fault itself, or was stopped, says nothing. */
function outcomeOf(backend: Backend, tried: Failure, waitedMs: number): Outcome {
  const { outcome, another, draining, tooLong, error } = tried;
  const told = (kind: Outcome["kind"]): Outcome => ({ backend: backend.id, kind, waitedMs });
  if (draining) return told("draining");
  if (tooLong) return told("left");
  if (outcome === "failed") return told("failed");
  if (outcome === "timed_out") return told("silent");
  if (outcome === "refused" && another)
    return { ...told("refused"), retryAfterMs: (error.retryAfterSeconds ?? 1) * 1_000 };
  return told("left");
}

/** Going on after a refusal, which did no work, takes nothing of the retry budget. */
const isFree = ({ outcome, unsent }: Failure): boolean => outcome === "refused" || unsent === true;

/** Inside a residency, that it allows nobody else is what there is to say. */
function nowhereError({ view, ask, model, admitted }: Run, place: Nowhere): ApiError {
  const error = errorOf(view, ask, place);
  if (error.code !== "no_backend" || !admitted.residency) return error;
  return outsideResidency(model.id, admitted.residency);
}

/** Tells the holder where the request goes next, so that an expiry would ask the right backend. */
function note(run: Run, attempt: AttemptId, backend: Backend): void {
  const { requestId } = run;
  const at = { requestId, attempt, backend: backend.id, region: backend.region };
  run.waitUntil(
    run.holder.checkpoint(at).catch((error: unknown) => {
      console.error(`${requestId}: the checkpoint of a placement was not taken: ${error}`);
    }),
  );
}

async function tryOne(
  run: Run,
  backend: Backend,
  attempt: AttemptId,
  startedAt: number,
  wasFailing: boolean,
): Promise<Tried> {
  const patience = new AbortController();
  // The deadline is the request's own affair (run.stop): it must not look like a slow backend.
  const { firstTokenMs: firstMs, idleMs } = settings(run.env);
  const timer = setTimeout(() => patience.abort(), firstMs);
  /** Ends the connection of an attempt that is given up. */
  const cut = new AbortController();
  const signal = AbortSignal.any([run.stop.signal, patience.signal, cut.signal]);
  const relayed = run.request.stream && backend.keepsAttempts;
  const dialect = dialects[backend.kind];
  const { request, bound, admitted } = run;
  let sentAt = 0;
  try {
    const asked: Asked = {
      request,
      servedAs: backend.servedAs,
      maxOutput: outputOfEach(bound, request),
      salt: await cacheSalt(admitted.account),
      attempt,
      relayed,
    };
    // A simulated region is as far as it pretends.
    await after(run.view.regions.get(backend.region)?.simulatedDistanceMs ?? 0, signal);
    sentAt = Date.now();
    const response = await fetch(urlAt(backend, "/v1/chat/completions"), {
      method: "POST",
      headers: headersFor(run, backend, asked, dialect),
      body: JSON.stringify(requestBody(dialect, asked)),
      redirect: "manual",
      signal,
    });
    if (response.status !== 200 || !response.body) {
      const tried = await refused(run, response, dialect);
      // One with less context than the model has is not its last word.
      const isShort = (backend.contextLength ?? run.model.contextLength) < run.model.contextLength;
      if (tried.error.code === "context_length_exceeded")
        return { ...tried, another: isShort, tooLong: true };
      // A proxy in front of it may have given up while it runs on.
      if (tried.outcome === "failed") abandon(run, backend, attempt);
      return tried;
    }
    if (isCompressed(response.headers)) {
      abandon(run, backend, attempt);
      await response.body.cancel();
      return failed("The backend's answer was compressed, which it was asked not to be.");
    }
    const base = { backend, attempt, close: () => cut.abort() };
    if (relayed) {
      // Our engine writes nothing before its first token: these headers are the token.
      const silence = () => run.stop.abort("silence");
      const report = awaitReport(backend, attempt, run.bound, run.stop.signal, idleMs, silence);
      return { ok: true, opened: { ...base, kind: "relay", body: response.body, report } };
    }
    const limits = {
      firstMs: Math.max(0, startedAt + firstMs - Date.now()),
      idleMs,
      maxBytes: run.bound.maxOutput * MAX_BYTES_A_TOKEN + MAX_BYTES_BESIDE,
    };
    const events = readEvents(response.body, limits, dialect, request.n);
    const first = await untilToken(events);
    if ("type" in first) {
      cut.abort();
      abandon(run, backend, attempt);
      if (first.late) return timedOut();
      return (
        interrupted(run, patience.signal) ??
        (first.means
          ? refusal(run, first.means, "The backend failed before its first token.", null)
          : { ...failed("The backend failed before its first token."), died: true })
      );
    }
    return { ok: true, opened: { ...base, kind: "events", first, rest: events } };
  } catch {
    abandon(run, backend, attempt);
    const unreached = failed("The backend could not be reached.");
    // A dead process refuses at once. One that was well until now has died of something: of this prompt, maybe.
    const unsent = wasFailing && Date.now() - sentAt < REFUSED_WITHIN_MS;
    return (
      interrupted(run, patience.signal) ?? (unsent ? { ...unreached, unsent } : { ...unreached, died: true })
    );
  } finally {
    clearTimeout(timer);
  }
}

function headersFor(run: Run, backend: Backend, asked: Asked, dialect: Dialect): Record<string, string> {
  const plain = {
    authorization: `Bearer ${backend.secret}`,
    "content-type": "application/json",
    "accept-encoding": "identity",
    ...requestHeaders(dialect, asked),
  };
  if (!backend.keepsAttempts) return plain;
  return {
    ...plain,
    "x-causeway-deadline-ms": String(Math.max(1, run.deadlineAt - Date.now())),
    ...(asked.relayed && {
      "x-causeway-tail": "edge",
      "x-causeway-answer-id": run.answer.id,
      "x-causeway-answer-model": run.answer.model,
      "x-causeway-answer-created": String(run.answer.created),
    }),
  };
}

/** A status other than 200. Backends' own messages are not passed on: some name files of the server. */
async function refused(run: Run, response: Response, dialect: Dialect): Promise<Failed> {
  const { status, headers } = response;
  const read = saysMore(dialect, status) && !isCompressed(headers);
  const text = read ? await beginningOf(response, MAX_REFUSAL_BYTES) : "";
  if (!read) await response.body?.cancel();
  const means = meaningOf(dialect, status, text);
  return refusal(run, means, `The backend answered ${status}.`, headers.get("retry-after"));
}

function refusal(run: Run, means: Meaning, message: string, retryAfter: string | null): Failed {
  const seconds = retryAfterSeconds(retryAfter, Date.now());
  const busy = overloaded("All backends of this model are busy.", seconds);
  const tooLong = contextExceeded(run.model.contextLength, "The messages are longer.");
  const bad = invalid("The backend refused this request as invalid.");
  const refused = { ok: false, outcome: "refused" } as const;
  switch (means) {
    case "context_exceeded":
      return { ...refused, error: tooLong, another: false };
    case "invalid":
      return { ...refused, error: bad, another: false };
    case "overloaded":
      return { ...refused, error: busy, another: true };
    case "draining":
      return { ...refused, error: busy, another: true, draining: true };
    case "failed":
      return failed(message);
  }
}

/** The edge's own reasons to break off, which a backend's stream that was cut then only follows. */
function interrupted(run: Run, patience: AbortSignal): Failed | undefined {
  if (run.stop.signal.aborted) {
    const error = backendTimedOut("The request was stopped.");
    return { ok: false, outcome: "aborted", error, another: false };
  }
  return patience.aborted ? timedOut() : undefined;
}

function failed(message: string): Failed {
  return { ok: false, outcome: "failed", error: backendFailed(message), another: true };
}

function timedOut(): Failed {
  const error = backendTimedOut("No backend gave a first token in time.");
  return { ok: false, outcome: "timed_out", error, another: true };
}

/** An attempt that is given up must not go on generating. */
function abandon(run: Run, backend: Backend, attempt: AttemptId): void {
  const signal = AbortSignal.timeout(ABORT_MS);
  run.waitUntil(
    backend.keepsAttempts
      ? askReport(backend, attempt, run.bound, signal, "abort")
      : tellStop(backend, attempt, signal),
  );
}

/** Everything up to the first token (or an answer's end without one) and with it; the error when it failed before. */
async function untilToken(
  events: AsyncIterator<readonly EngineEvent[]>,
): Promise<readonly EngineEvent[] | Extract<EngineEvent, { type: "error" }>> {
  const seen: EngineEvent[] = [];
  for (;;) {
    const next = await events.next();
    if (next.done) return { type: "error", message: "the backend closed without an answer" };
    for (const event of next.value) {
      if (event.type === "delta" || event.type === "finish") return [...seen, ...next.value];
      if (event.type === "error") return event;
    }
    seen.push(...next.value);
  }
}
