/** The body of a request, counted as it comes: Content-Length is a claim, not a fact. */
import type { IncomingMessage } from "node:http";
import { ApiError } from "./error.ts";

export const maxBodyBytes = 8 * 1024 * 1024;
/** A body that is too large is read on to here and dropped: a client that still sends does not see an answer. */
const maxDiscardedBytes = 4 * maxBodyBytes;

/** The body as JSON. Errors: ApiError 413 beyond the limit, 400 where it is not JSON in UTF-8. */
export async function readJsonBody(request: IncomingMessage): Promise<unknown> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes <= maxBodyBytes) pieces.push(piece);
    else if (bytes > maxDiscardedBytes) break;
    else pieces.length = 0;
  }
  if (bytes > maxBodyBytes) {
    throw new ApiError(413, "request_too_large", `The body is larger than ${maxBodyBytes} bytes.`);
  }
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(pieces)));
  } catch {
    throw new ApiError(400, "invalid_json", "The body is not valid JSON.");
  }
}
