/**
 * Reads a JSON body, counting: Content-Length is a claim. All bodies in flight share one budget, since an isolate
 * has 128 MB for all its requests.
 */
import { bodyTooLarge, invalid, overloaded, Refusal } from "../../errors.ts";

export const MAX_BODY_BYTES = 8 * 1024 * 1024;
const MAX_IN_FLIGHT_BYTES = 32 * 1024 * 1024;

let inFlight = 0;

/** The parsed body, and its size. Throws a Refusal: too large, no UTF-8, not JSON, or no room now. */
export async function readJson(request: Request, limit = MAX_BODY_BYTES): Promise<unknown> {
  let taken = 0;
  try {
    const chunks: Uint8Array[] = [];
    if (request.body) {
      for await (const chunk of request.body as ReadableStream<Uint8Array>) {
        taken += chunk.byteLength;
        inFlight += chunk.byteLength;
        if (taken > limit) throw new Refusal(bodyTooLarge(limit));
        if (inFlight > MAX_IN_FLIGHT_BYTES) throw new Refusal(overloaded("Too many large requests at once."));
        chunks.push(chunk);
      }
    }
    return parse(chunks);
  } finally {
    inFlight -= taken;
  }
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
