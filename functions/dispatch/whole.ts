/**
 * A whole answer: the same attempts and the same counting as a stream, collected. One that breaks off in the middle
 * has delivered nothing, so the next placement may try it from the start.
 */
import { settle } from "../admission/lease.ts";
import { whole as encode } from "../surfaces/openai/encode.ts";
import { errorResponse } from "../surfaces/openai/errors.ts";
import { broken, refusalOf } from "./ending.ts";
import { type Collected, collect } from "./forward.ts";
import { answerHeaders } from "./headers.ts";
import { openAgain } from "./open.ts";
import type { Opened, Opening, Run } from "./run.ts";

export async function whole(run: Run, opening: Promise<Opening>): Promise<Response> {
  const first = await opening;
  if (!first.ok) {
    const end = refusalOf(run, first.error);
    await settle(run, end);
    return errorResponse(end.error ?? first.error, answerHeaders(run));
  }
  const { opened, end } = await collectFrom(run, first.opened).catch((error: unknown) => {
    return { opened: first.opened, end: { ...broken(run, error), messages: [] } };
  });
  const cost = await settle(run, end);
  const headers = answerHeaders(run, opened);
  if (end.error) return errorResponse(end.error, headers);
  headers.set("content-type", "application/json");
  const answer = encode(run.answer, end.messages, end.finishReasons, { usage: end.usage, cost });
  return new Response(JSON.stringify(answer), { headers });
}

/** The answer of the first placement that brings it to its end, or the last one's failure. */
async function collectFrom(run: Run, opened: Opened): Promise<{ opened: Opened; end: Collected }> {
  if (opened.kind !== "events") throw new Error("a whole answer is always read");
  const end = await collect(run, opened);
  if (end.ending !== "backend_failed") return { opened, end };
  const again = await openAgain(run);
  return again ? collectFrom(run, again) : { opened, end };
}
