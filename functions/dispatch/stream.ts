/**
 * A streamed answer. The edge owns the tail: finish, usage, cost and `[DONE]` are written here, after the
 * settlement, and only on success. A stream whose first token is late is committed (headers out) and kept alive
 * with comments, so that a client that leaves is seen.
 */
import { settle } from "../admission/lease.ts";
import { SECOND_MS, within } from "../clock.ts";
import { NO_USAGE, type Usage } from "../money.ts";
import { tail } from "../surfaces/openai/encode.ts";
import { errorEvent, errorResponse } from "../surfaces/openai/errors.ts";
import { broken, refusalOf, stopped } from "./ending.ts";
import { forward } from "./forward.ts";
import { answerHeaders } from "./headers.ts";
import { relay } from "./relay.ts";
import { askReport } from "./report.ts";
import type { End, Opened, Opening, Run } from "./run.ts";
import { Wire } from "./wire.ts";

/** Without a token by then, the stream is committed. */
const COMMIT_MS = 5 * SECOND_MS;
const COMMENT = ": waiting for the first token\n\n";
const COMMENT_MS = 1 * SECOND_MS;
const ABORT_MS = 2 * SECOND_MS;

export async function streamed(run: Run, opening: Promise<Opening>): Promise<Response> {
  const early = await within(COMMIT_MS, opening);
  if (early && !early.ok) {
    const end = refusalOf(run, early.error);
    await settle(run, end);
    return errorResponse(end.error ?? early.error, answerHeaders(run));
  }
  const wire = new Wire(run.stop.signal);
  run.waitUntil(serve(run, wire, opening, early?.opened));
  const headers = answerHeaders(run, early?.opened);
  headers.set("content-type", "text/event-stream; charset=utf-8");
  headers.set("cache-control", "no-cache, no-transform");
  return new Response(wire.readable, { headers });
}

async function serve(
  run: Run,
  wire: Wire,
  opening: Promise<Opening>,
  early: Opened | undefined,
): Promise<void> {
  const end = await answer(run, wire, opening, early).catch((error: unknown) => broken(run, error));
  const cost = await settle(run, end);
  if (end.error) {
    await wire.write(errorEvent(end.error, run.answer, run.request.n));
  } else if (end.ending === "finished") {
    await wire.write(
      tail(run.answer, end.finishReasons, { usage: end.usage, cost }, run.request.includeUsage),
    );
  }
  await wire.close();
}

async function answer(
  run: Run,
  wire: Wire,
  opening: Promise<Opening>,
  early: Opened | undefined,
): Promise<End> {
  const opened = early ?? (await keptAlive(run, wire, opening));
  if ("ending" in opened) return opened;
  return opened.kind === "relay" ? relay(run, wire, opened) : forward(run, wire, opened);
}

/** A comment line each second until the first token: a write that fails is how a leaving client is seen. */
async function keptAlive(run: Run, wire: Wire, opening: Promise<Opening>): Promise<Opened | End> {
  for (;;) {
    const next = await within(COMMENT_MS, opening);
    if (next?.ok) return next.opened;
    if (next && !run.stop.signal.aborted) return refusalOf(run, next.error);
    // Who left pays for the prompt where it was computed; a deadline that passed delivered nothing.
    if (next)
      return stopped(run, run.stop.signal.reason === "client_left" ? await countOfLast(run) : NO_USAGE);
    if (!(await wire.write(COMMENT))) run.stop.abort("client_left"); // The opening ends by it, at once.
  }
}

/** What the last attempt had counted when the abort reached it. */
async function countOfLast(run: Run): Promise<Usage> {
  const last = run.attempts.at(-1);
  const backend = last && run.view.backends.get(last.backend);
  if (!last || !backend?.keepsAttempts) return NO_USAGE;
  const report = await askReport(backend, last.id, run.bound, AbortSignal.timeout(ABORT_MS), "abort");
  return report?.usage ?? NO_USAGE;
}
