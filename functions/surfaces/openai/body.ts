/**
 * Reads a JSON body, counting: Content-Length is a claim. All bodies in flight share one budget, since an isolate
 * has 128 MB for all its requests, and what was read lives on as text and objects while its request does. A body
 * that trickles has a deadline.
 */
import { MINUTE_MS, SECOND_MS } from "../../clock.ts";
import { bodyTooLarge, bodyTooSlow, invalid, overloaded, Refusal } from "../../errors.ts";

export const MAX_BODY_BYTES = 8 * 1024 * 1024;
const MAX_IN_FLIGHT_BYTES = 32 * 1024 * 1024;
/** From the request to its body's last byte. */
const UPLOAD_MS = 30 * SECOND_MS;

/** Longer than any request runs. A request that the platform ended without a word must not keep its share for ever. */
const FORGOTTEN_MS = 20 * MINUTE_MS;

interface Share {
  bytes: number;
  readonly since: number;
}
const shares = new Set<Share>();
let inFlight = 0;

/** Bytes of all bodies that are being read, or whose requests still run. */
export const bytesInFlight = (): number => inFlight;

/** A body whose bytes count until `release` is called, once or more often. */
export interface Body {
  readonly value: unknown;
  readonly release: () => void;
}

/** The parsed body of a request that needs little of it for long. Throws as readBody does. */
export async function readJson(request: Request, limit = MAX_BODY_BYTES): Promise<unknown> {
  const { value, release } = await readBody(request, { limit });
  release();
  return value;
}

/** The parsed body. Throws a Refusal: too large, too slow, no UTF-8, not JSON, or no room now. */
export async function readBody(
  request: Request,
  { limit = MAX_BODY_BYTES, uploadMs = UPLOAD_MS }: { limit?: number; uploadMs?: number } = {},
): Promise<Body> {
  const share: Share = { bytes: 0, since: Date.now() };
  shares.add(share);
  const release = () => giveBack(share);
  const chunks: Uint8Array[] = [];
  const reader = (request.body as ReadableStream<Uint8Array> | null)?.getReader();
  // Beside the read: to cancel a body's stream does not end a read of it that is pending.
  const late = Promise.withResolvers<never>();
  late.promise.catch(() => undefined);
  const timer = setTimeout(() => late.reject(new Refusal(bodyTooSlow(uploadMs / SECOND_MS))), uploadMs);
  try {
    while (reader) {
      const { done, value } = await Promise.race([reader.read(), late.promise]);
      if (done) break;
      share.bytes += value.byteLength;
      inFlight += value.byteLength;
      if (share.bytes > limit) throw new Refusal(bodyTooLarge(limit));
      if (inFlight > MAX_IN_FLIGHT_BYTES) forgetOld();
      if (inFlight > MAX_IN_FLIGHT_BYTES) throw new Refusal(overloaded("Too many large requests at once."));
      chunks.push(value);
    }
    return { value: parse(chunks), release };
  } catch (error) {
    release();
    reader?.cancel().catch(() => undefined);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function giveBack(share: Share): void {
  shares.delete(share);
  inFlight -= share.bytes;
  share.bytes = 0;
}

function forgetOld(): void {
  const before = Date.now() - FORGOTTEN_MS;
  for (const share of shares) if (share.since < before) giveBack(share);
}

function parse(chunks: readonly Uint8Array[]): unknown {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });
  let text = "";
  try {
    for (const chunk of chunks) text += decoder.decode(chunk, { stream: true });
    text += decoder.decode();
  } catch {
    throw new Refusal(invalid("The body is not valid UTF-8.", undefined, "invalid_json"));
  }
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own message quotes the text: it stays unsaid.
    throw new Refusal(invalid("The body is not valid JSON.", undefined, "invalid_json"));
  }
}
