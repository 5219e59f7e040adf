/**
 * From a placement to a first token. Attempts are made one after another, in the router's order, until one has
 * its first token; from then on the answer is that attempt's. One policy for streams and whole answers alike.
 */

import type { AttemptRecord } from "../admission/holder.ts";
import {
  type ApiError,
  backendFailed,
  backendTimedOut,
  contextExceeded,
  invalid,
  noBackend,
  overloaded,
} from "../errors.ts";
import type { Backend } from "../fleet/snapshot.ts";
import { learn } from "../fleet/view.ts";
import { type AttemptId, attemptId } from "../ids.ts";
import { readEvents } from "./read.ts";
import { askReport, awaitReport } from "./report.ts";
import type { EngineEvent, Opened, Opening, Run } from "./run.ts";

const MAX_ATTEMPTS = 4;
const ABORT_MS = 2_000;
/** A token is rarely longer; four of these a token is beyond any answer. */
const MAX_BYTES_A_TOKEN = 2_048;
const MAX_BYTES_BESIDE = 1024 * 1024;

type Failure = {
  readonly outcome: AttemptRecord["outcome"];
  readonly error: ApiError;
  readonly another: boolean;
};
type Tried = { readonly ok: true; readonly opened: Opened } | ({ readonly ok: false } & Failure);

/** Tries placements until one has a first token. Never throws. */
export async function open(run: Run): Promise<Opening> {
  let failure: Failure | undefined;
  for (const [index, backend] of run.placements.slice(0, MAX_ATTEMPTS).entries()) {
    const attempt = attemptId(run.requestId, index + 1);
    const startedAt = Date.now();
    if (index > 0) await note(run, attempt, backend);
    const tried = await tryOne(run, backend, attempt, startedAt);
    const record = { id: attempt, backend: backend.id, region: backend.region, ms: Date.now() - startedAt };
    if (tried.ok) {
      run.attempts.push({ ...record, outcome: "served" });
      run.ttftMs = Date.now() - run.startedAt;
      learn({ backend: backend.id, kind: "served" }, Date.now());
      return tried;
    }
    run.attempts.push({ ...record, outcome: tried.outcome });
    if (tried.outcome === "failed" || tried.outcome === "timed_out")
      learn({ backend: backend.id, kind: "failed" }, Date.now());
    failure = tried;
    if (!tried.another || run.stop.signal.aborted) break;
  }
  return { ok: false, error: failure?.error ?? noBackend(run.model.id) };
}

/** Tells the holder where the request goes next, so that an expiry would ask the right backend. */
async function note(run: Run, attempt: AttemptId, backend: Backend): Promise<void> {
  const { requestId } = run;
  await run.holder
    .checkpoint({ requestId, attempt, backend: backend.id, region: backend.region })
    .catch((error: unknown) => {
      console.error(`${requestId}: the checkpoint of a failover was not taken: ${error}`);
    });
}

async function tryOne(run: Run, backend: Backend, attempt: AttemptId, startedAt: number): Promise<Tried> {
  const patience = new AbortController();
  const firstMs = Math.min(Number(run.env.FIRST_TOKEN_MS), run.deadlineAt - startedAt);
  const timer = setTimeout(() => patience.abort(), firstMs);
  const signal = AbortSignal.any([run.stop.signal, patience.signal]);
  const relayed = run.request.stream && backend.keepsAttempts;
  try {
    const response = await fetch(`${backend.url.replace(/\/+$/, "")}/v1/chat/completions`, {
      method: "POST",
      headers: headersFor(run, backend, attempt, relayed),
      body: JSON.stringify(bodyFor(run, backend, relayed)),
      redirect: "manual",
      signal,
    });
    if (response.status !== 200 || !response.body) return await refused(run, response);
    const base = { backend, attempt, openedAt: Date.now() };
    if (relayed) {
      // Our engine writes nothing before its first token: these headers are the token.
      const silence = () => run.stop.abort("silence");
      const report = awaitReport(
        backend,
        attempt,
        run.bound,
        run.stop.signal,
        Number(run.env.IDLE_MS),
        silence,
      );
      return { ok: true, opened: { ...base, kind: "relay", body: response.body, report } };
    }
    const events = readEvents(response.body, {
      firstMs: Math.max(0, startedAt + firstMs - Date.now()),
      idleMs: Number(run.env.IDLE_MS),
      maxBytes: run.bound.maxOutput * MAX_BYTES_A_TOKEN + MAX_BYTES_BESIDE,
    });
    const first = await untilToken(events);
    if ("type" in first) {
      abandon(run, backend, attempt);
      return first.late ? timedOut() : failed("The backend failed before its first token.");
    }
    return { ok: true, opened: { ...base, kind: "events", events: again(first, events) } };
  } catch {
    abandon(run, backend, attempt);
    if (run.stop.signal.aborted)
      return {
        ok: false,
        outcome: "aborted",
        error: backendTimedOut("The request was stopped."),
        another: false,
      };
    if (patience.signal.aborted) return timedOut();
    return failed("The backend could not be reached.");
  } finally {
    clearTimeout(timer);
  }
}

/** What goes to a backend: the validated value, serialised once. */
function bodyFor({ request, bound }: Run, backend: Backend, relayed: boolean) {
  return {
    model: backend.servedAs,
    messages: request.messages,
    stream: true,
    ...(!relayed && { stream_options: { include_usage: true } }),
    max_tokens: bound.maxOutput,
    ...(request.stop.length > 0 && { stop: request.stop }),
    ...(request.seed !== undefined && { seed: request.seed }),
    ...(request.temperature !== undefined && { temperature: request.temperature }),
    ...(request.topP !== undefined && { top_p: request.topP }),
  };
}

function headersFor(
  run: Run,
  backend: Backend,
  attempt: AttemptId,
  relayed: boolean,
): Record<string, string> {
  const plain = {
    authorization: `Bearer ${backend.secret}`,
    "content-type": "application/json",
    "accept-encoding": "identity",
  };
  if (!backend.keepsAttempts) return plain;
  return {
    ...plain,
    "x-causeway-attempt-id": attempt,
    "x-causeway-cache-salt": run.admitted.account,
    "x-causeway-deadline-ms": String(Math.max(1, run.deadlineAt - Date.now())),
    ...(relayed && {
      "x-causeway-tail": "edge",
      "x-causeway-answer-id": run.answer.id,
      "x-causeway-answer-model": run.answer.model,
      "x-causeway-answer-created": String(run.answer.created),
    }),
  };
}

/** A status other than 200. Backends' own messages are not passed on: some name files of the server. */
async function refused(run: Run, response: Response): Promise<Tried> {
  const { status } = response;
  if (status === 400 || status === 422) {
    const text = (await response.text().catch(() => "")).slice(0, 4_096);
    const tooLong = /context_length_exceeded|maximum context length|input_tokens/.test(text);
    const error = tooLong
      ? contextExceeded(run.model.contextLength, "The messages are longer.")
      : invalid("The backend refused this request as invalid.");
    return { ok: false, outcome: "refused", error, another: false };
  }
  await response.body?.cancel();
  if (status === 429 || status === 503) {
    const said = Number(response.headers.get("retry-after"));
    const seconds = Number.isFinite(said) && said > 0 ? Math.min(60, Math.ceil(said)) : 2;
    return {
      ok: false,
      outcome: "refused",
      error: overloaded("All backends of this model are busy.", seconds),
      another: true,
    };
  }
  return failed(`The backend answered ${status}.`);
}

function failed(message: string): Tried {
  return { ok: false, outcome: "failed", error: backendFailed(message), another: true };
}

function timedOut(): Tried {
  const error = backendTimedOut("No backend gave a first token in time.");
  return { ok: false, outcome: "timed_out", error, another: true };
}

/** An attempt that is given up must not go on generating. */
function abandon(run: Run, backend: Backend, attempt: AttemptId): void {
  if (!backend.keepsAttempts) return;
  run.waitUntil(askReport(backend, attempt, run.bound, AbortSignal.timeout(ABORT_MS), "abort"));
}

/** Everything up to the first token (or an answer's end without one); the error when it failed before. */
async function untilToken(
  events: AsyncGenerator<EngineEvent>,
): Promise<EngineEvent[] | Extract<EngineEvent, { type: "error" }>> {
  const seen: EngineEvent[] = [];
  for (;;) {
    const next = await events.next();
    if (next.done) return { type: "error", message: "the backend closed without an answer" };
    if (next.value.type === "error") return next.value;
    seen.push(next.value);
    if (next.value.type === "delta" || next.value.type === "finish") return seen;
  }
}

async function* again(
  first: readonly EngineEvent[],
  rest: AsyncGenerator<EngineEvent>,
): AsyncGenerator<EngineEvent> {
  yield* first;
  yield* rest;
}
