/** Reads test/fixtures/recordings: an answer as a real server sent it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const folder = join(import.meta.dirname, "../fixtures/recordings");

export interface Recording {
  readonly status: number;
  readonly body: Uint8Array;
}

/** The answer in a recording: without the request that stands before it, and without its headers. */
export function recorded(name: string): Recording {
  const bytes = readFileSync(join(folder, name));
  const start = bytes.indexOf("HTTP/1.1 ");
  const end = bytes.indexOf("\r\n\r\n", start);
  if (start < 0 || end < 0) throw new Error(`${name} holds no answer`);
  return {
    status: Number(bytes.toString("latin1", start + 9, start + 12)),
    body: new Uint8Array(bytes.subarray(end + 4)),
  };
}

export function recordedText(name: string): string {
  return readFileSync(join(folder, name), "utf8");
}
