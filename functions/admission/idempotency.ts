/**
 * `Idempotency-Key`: what a client asks twice under the same one runs once. Here it becomes two hashes; the
 * account's object decides, in the transaction of what is asked for (objects/idempotency.ts).
 */
import type { Context } from "hono";
import type { AppEnv } from "../app.ts";
import { sha256 } from "../auth/key.ts";
import { invalid, Refusal } from "../errors.ts";
import type { Once } from "./holder.ts";

const HEADER = "idempotency-key";
/** Visible ASCII: what is compared must look the same where it is the same. */
const form = /^[\x21-\x7e]{1,255}$/;

/** Undefined where the header was not sent. Bodies are the same when they parse to the same JSON text. */
export async function onceOf(c: Context<AppEnv>, body: unknown): Promise<Once | undefined> {
  const key = c.req.header(HEADER);
  if (key === undefined) return undefined;
  if (!form.test(key))
    throw new Refusal(
      invalid(
        "An Idempotency-Key is 1 to 255 visible ASCII characters, without spaces.",
        "Idempotency-Key",
        "invalid_idempotency_key",
      ),
    );
  return {
    id: await sha256(`${c.get("presented").hash}\n${key}`),
    fingerprint: await sha256(`${c.req.method} ${c.req.path}\n${JSON.stringify(body)}`),
  };
}
