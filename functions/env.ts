/** What wrangler.toml binds, and the secrets that a deployment sets beside it. */
import type { AccountObject } from "./objects/account.ts";
import type { PoolObject } from "./objects/pool.ts";
import type { OutboxMessage } from "./usage/outbox.ts";

export interface Env {
  DB: D1Database;
  ACCOUNTS: DurableObjectNamespace<AccountObject>;
  POOLS: DurableObjectNamespace<PoolObject>;
  OUTBOX: Queue<OutboxMessage>;
  /** The middle part of API keys: `live`, `test`. */
  ENVIRONMENT: string;
  REQUEST_DEADLINE_MS: string;
  FIRST_TOKEN_MS: string;
  IDLE_MS: string;
  /** Bearer of the admin API. Unset: there is no admin API. */
  ADMIN_KEY?: string;
  /** Secrets of the tags on API keys, by the letter that begins a tag; the last letter set makes new keys. */
  KEY_SECRET_A?: string;
  KEY_SECRET_B?: string;
  /** Bearers of backends. D1 holds their names, which begin like this. */
  [secret: `BACKEND_${string}`]: string | undefined;
}
