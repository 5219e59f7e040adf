/**
 * The Worker that sends webhooks: one POST to an address of a customer's choice, and what came of it. It has no
 * binding and holds no secret (wrangler.toml here); it decides on the address by itself, whatever its caller decided.
 */
import { WorkerEntrypoint } from "cloudflare:workers";
import { decideUrl, type UrlPolicyVars, urlPolicy } from "./url-policy.ts";

interface SenderEnv extends UrlPolicyVars {
  readonly WEBHOOK_TIMEOUT_MS?: string;
}

export interface Letter {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface Outcome {
  /** Null: there was no answer. */
  readonly status: number | null;
  readonly ms: number;
  /** Why it is no success; null: it is one. Never a word of what the endpoint answered. */
  readonly error: string | null;
  readonly retryAfter: string | null;
}

const DEFAULT_TIMEOUT_MS = 10_000;
/** Read of an answer, so that its connection can serve again. What is longer is cut off. */
const MAX_ANSWER_BYTES = 4 * 1024;

export class Sender extends WorkerEntrypoint<SenderEnv> {
  /** Sends it once, following nothing. Never throws: what goes wrong is an outcome. */
  async send(letter: Letter): Promise<Outcome> {
    const startedAt = Date.now();
    const outcome = (
      status: number | null,
      error: string | null,
      retryAfter: string | null = null,
    ): Outcome => ({
      status,
      ms: Date.now() - startedAt,
      error,
      retryAfter: retryAfter?.slice(0, 100) ?? null,
    });
    const decision = decideUrl(letter.url, urlPolicy(this.env));
    if (!decision.ok) return outcome(null, `The address is refused: ${decision.because}.`);
    const limitMs = Number(this.env.WEBHOOK_TIMEOUT_MS) || DEFAULT_TIMEOUT_MS;
    const signal = AbortSignal.timeout(limitMs);
    try {
      const response = await fetch(decision.url, {
        method: "POST",
        headers: letter.headers,
        body: letter.body,
        redirect: "manual",
        signal,
      });
      await drain(response, signal);
      const { status } = response;
      return outcome(status, refusal(status), response.headers.get("retry-after"));
    } catch {
      // The reason may quote addresses of the network that this runs in: it stays unsaid.
      return outcome(
        null,
        signal.aborted ? `There was no answer within ${limitMs / 1000} s.` : "The connection failed.",
      );
    }
  }
}

function refusal(status: number): string | null {
  if (status >= 200 && status < 300) return null;
  if (status >= 300 && status < 400) return `Answered ${status}: redirects are not followed.`;
  return `Answered ${status}.`;
}

/** The status has been heard: whatever becomes of the body does not change it. */
async function drain(response: Response, signal: AbortSignal): Promise<void> {
  const reader = response.body?.getReader();
  if (!reader) return;
  let bytes = 0;
  const stop = () => void reader.cancel().catch(() => {});
  signal.addEventListener("abort", stop);
  try {
    while (bytes < MAX_ANSWER_BYTES) {
      const { done, value } = await reader.read();
      if (done) return;
      bytes += value.byteLength;
    }
  } catch {
    // Reset in the middle of its body.
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
}

/** Nobody calls it over HTTP: it has no route. */
export default { fetch: () => new Response(null, { status: 404 }) };
