/** What a backend that keeps the attempt contract (engine/server/README.md) says of one attempt. */
import { z } from "zod";
import { type Backend, urlAt } from "../fleet/snapshot.ts";
import type { AttemptId } from "../ids.ts";
import type { Usage } from "../money.ts";
import { type Bound, plausible } from "../usage/plausible.ts";
import { dialects } from "./dialects/by-kind.ts";

export interface AttemptReport {
  readonly state: "queued" | "running" | "done" | "aborted" | "failed" | "unknown";
  readonly finishReason: string | null;
  /** Why each choice ended, once the attempt is done. */
  readonly finishReasons: readonly string[];
  /** Undefined: the backend's counts are missing or impossible. */
  readonly usage: Usage | undefined;
  /** The backend's code for what went wrong. */
  readonly error: string | null;
}

export const hasEnded = (report: AttemptReport): boolean =>
  report.state === "done" || report.state === "aborted" || report.state === "failed";

const shape = z.object({
  state: z.enum(["queued", "running", "done", "aborted", "failed", "unknown"]),
  finish_reason: z.string().nullish(),
  finish_reasons: z.array(z.string()).nullish(),
  prompt_tokens: z.unknown().optional(),
  cached_tokens: z.unknown().optional(),
  completion_tokens: z.unknown().optional(),
  error: z.object({ code: z.string() }).nullish().catch(null),
});

/** Far more than a report needs: a report is small, and a backend is not trusted to keep it so. */
const MAX_REPORT_BYTES = 16_384;

export function attemptUrl(backend: Backend, attempt: AttemptId): string {
  return urlAt(backend, `/causeway/v1/attempts/${attempt}`);
}

/** Asks for an attempt's count, or aborts it and asks. Undefined when there is none to be had now; never throws. */
export async function askReport(
  backend: Backend,
  attempt: AttemptId,
  bound: Bound,
  signal: AbortSignal,
  how: "now" | "abort" = "now",
): Promise<AttemptReport | undefined> {
  try {
    return await request(
      attemptUrl(backend, attempt),
      backend,
      bound,
      signal,
      how === "abort" ? "DELETE" : "GET",
      () => {},
    );
  } catch {
    return undefined; // Unreachable, cut, or not JSON.
  }
}

/** Ends an attempt at a backend that may not notice at once that the connection was closed. Never throws. */
export async function tellStop(backend: Backend, attempt: AttemptId, signal: AbortSignal): Promise<void> {
  const abort = dialects[backend.kind].abort;
  if (abort.by !== "closing_and_posting") return;
  try {
    const response = await fetch(urlAt(backend, abort.path), {
      method: "POST",
      headers: { authorization: `Bearer ${backend.secret}`, "content-type": "application/json" },
      body: JSON.stringify(abort.body(attempt)),
      redirect: "manual",
      signal,
    });
    await response.body?.cancel();
  } catch {
    // Unreachable: the connection was closed in any case.
  }
}

/**
 * The report that comes when the attempt ends. The backend sends a space every 15 s meanwhile: when nothing at all
 * comes for `idleMs`, the process behind it hangs, and `onSilence` is called. Undefined as above; never throws.
 */
export async function awaitReport(
  backend: Backend,
  attempt: AttemptId,
  bound: Bound,
  signal: AbortSignal,
  idleMs: number,
  onSilence: () => void,
): Promise<AttemptReport | undefined> {
  const silence = new AbortController();
  const arm = () =>
    setTimeout(() => {
      silence.abort();
      onSilence();
    }, idleMs);
  let timer = arm();
  const heard = () => {
    clearTimeout(timer);
    timer = arm();
  };
  try {
    const both = AbortSignal.any([signal, silence.signal]);
    return await request(`${attemptUrl(backend, attempt)}?wait=end`, backend, bound, both, "GET", heard);
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

async function request(
  url: string,
  backend: Backend,
  bound: Bound,
  signal: AbortSignal,
  method: "GET" | "DELETE",
  heard: () => void,
): Promise<AttemptReport | undefined> {
  const headers = { authorization: `Bearer ${backend.secret}` };
  const response = await fetch(url, { method, headers, redirect: "manual", signal });
  if (response.status !== 200 && response.status !== 404) {
    await response.body?.cancel();
    return undefined;
  }
  const text = await readSmall(response, heard);
  const said = shape.safeParse(text === undefined ? undefined : JSON.parse(text));
  if (!said.success) return undefined;
  const { state, finish_reason, finish_reasons, prompt_tokens, cached_tokens, completion_tokens, error } =
    said.data;
  return {
    state,
    finishReason: finish_reason ?? null,
    finishReasons: finish_reasons ?? (finish_reason ? [finish_reason] : []),
    usage: plausible(
      { promptTokens: prompt_tokens, cachedTokens: cached_tokens, completionTokens: completion_tokens },
      bound,
    ),
    error: error?.code ?? null,
  };
}

async function readSmall(response: Response, heard: () => void): Promise<string | undefined> {
  if (!response.body) return undefined;
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of response.body) {
    heard();
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    if (text.length > MAX_REPORT_BYTES) return undefined;
  }
  return text + decoder.decode();
}
