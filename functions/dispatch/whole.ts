/** A whole answer: the same attempts and the same counting as a stream, collected. */
import { settle } from "../admission/lease.ts";
import { whole as encode } from "../surfaces/openai/encode.ts";
import { errorResponse } from "../surfaces/openai/errors.ts";
import { refusalOf } from "./ending.ts";
import { collect } from "./forward.ts";
import { answerHeaders } from "./headers.ts";
import type { Opening, Run } from "./run.ts";

export async function whole(run: Run, opening: Promise<Opening>): Promise<Response> {
  const first = await opening;
  if (!first.ok) {
    await settle(run, refusalOf(run, first.error));
    return errorResponse(first.error, answerHeaders(run));
  }
  const { opened } = first;
  if (opened.kind !== "events") throw new Error("a whole answer is always read");
  const end = await collect(run, opened);
  const cost = await settle(run, end);
  const headers = answerHeaders(run, opened);
  if (end.error) return errorResponse(end.error, headers);
  headers.set("content-type", "application/json");
  return new Response(
    JSON.stringify(encode(run.answer, end.text, end.finishReason ?? "stop", { usage: end.usage, cost })),
    { headers },
  );
}
