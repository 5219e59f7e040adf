import { api } from "../../api.ts";
import { changed } from "../../query.ts";

/** Sends a change and asks for the list again. */
export async function send<T>(method: string, path: string, body?: unknown, once?: string): Promise<T> {
  const answer = await api<T>(path, { method, body, ...(once !== undefined && { once }) });
  await changed("/v1/keys");
  return answer;
}
