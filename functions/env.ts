/**
 * What wrangler.toml binds, and the secrets that a deployment sets beside it. Variables are texts there: `settings`
 * reads them, once, and a deployment that lacks one refuses instead of reckoning with NaN.
 */
import { z } from "zod";
import { notAvailable, Refusal } from "./errors.ts";
import type { AccountObject } from "./objects/account.ts";
import type { DeliveriesObject } from "./objects/deliveries.ts";
import type { PoolObject } from "./objects/pool.ts";
import type { OutboxMessage } from "./usage/outbox.ts";
import type { DeliveryMessage } from "./webhooks/deliver.ts";
import type { Sender } from "./webhooks/sender.ts";
import type { UrlPolicyVars } from "./webhooks/url-policy.ts";

export interface Env extends UrlPolicyVars {
  DB: D1Database;
  ACCOUNTS: DurableObjectNamespace<AccountObject>;
  POOLS: DurableObjectNamespace<PoolObject>;
  DELIVERIES: DurableObjectNamespace<DeliveriesObject>;
  OUTBOX: Queue<OutboxMessage>;
  WEBHOOKS: Queue<DeliveryMessage>;
  /** The dashboard's files (assets.ts). */
  ASSETS: Fetcher;
  /** The Worker that sends webhooks: it has no other binding (webhooks/sender.ts). */
  SENDER: Service<typeof Sender>;
  /** The middle part of API keys: `live`, `test`. */
  ENVIRONMENT: string;
  REQUEST_DEADLINE_MS: string;
  UPLOAD_MS: string;
  FIRST_TOKEN_MS: string;
  IDLE_MS: string;
  /** Bearer of the admin API. Unset: there is no admin API. */
  ADMIN_KEY?: string;
  /** Secrets of the tags on API keys, by the letter that begins a tag; the last letter set makes new keys. */
  KEY_SECRET_A?: string;
  KEY_SECRET_B?: string;
  /** From a webhook's first failed attempt to its second. */
  WEBHOOK_RETRY_MS?: string;
  /** Stripe: both or no checkout and no top-up. The address is Stripe's own where it is not set. */
  STRIPE_SECRET_KEY?: string;
  STRIPE_WEBHOOK_SECRET?: string;
  STRIPE_API_URL?: string;
  /** Where Stripe's page leads back to. */
  DASHBOARD_URL?: string;
  /** Bearers of backends. D1 holds their names, which begin like this. */
  [secret: `BACKEND_${string}`]: string | undefined;
}

/** Longer than any request may take: setTimeout's own limit is 24.8 days. */
const MOST_MS = 24 * 3_600_000;

const milliseconds = z
  .string({ error: "is not set" })
  .regex(/^\d{1,10}$/, { error: "must be whole milliseconds" })
  .transform(Number)
  .pipe(z.int().min(1).max(MOST_MS));

const variables = z.object({
  ENVIRONMENT: z
    .string({ error: "is not set" })
    .regex(/^[a-z]{2,10}$/, { error: "must be 2 to 10 of a-z, such as 'live'" }),
  REQUEST_DEADLINE_MS: milliseconds,
  UPLOAD_MS: milliseconds,
  FIRST_TOKEN_MS: milliseconds,
  IDLE_MS: milliseconds,
});

export interface Settings {
  readonly environment: string;
  readonly requestDeadlineMs: number;
  /** How long a request's body may take to arrive. */
  readonly uploadMs: number;
  readonly firstTokenMs: number;
  readonly idleMs: number;
}

const read = new WeakMap<Env, Settings>();

/** The variables of wrangler.toml. @throws a Refusal (503) where one is missing or wrong; the log names it. */
export function settings(env: Env): Settings {
  let known = read.get(env);
  if (!known) read.set(env, (known = parse(env)));
  return known;
}

function parse(env: Env): Settings {
  const parsed = variables.safeParse(env);
  if (!parsed.success) {
    for (const { path, message } of parsed.error.issues)
      console.error(`configuration: the variable ${path.join(".")} ${message} (wrangler.toml, [vars])`);
    throw new Refusal(
      notAvailable("The platform is not configured. Its operator finds the reason in the log."),
    );
  }
  const { ENVIRONMENT, REQUEST_DEADLINE_MS, UPLOAD_MS, FIRST_TOKEN_MS, IDLE_MS } = parsed.data;
  return {
    environment: ENVIRONMENT,
    requestDeadlineMs: REQUEST_DEADLINE_MS,
    uploadMs: UPLOAD_MS,
    firstTokenMs: FIRST_TOKEN_MS,
    idleMs: IDLE_MS,
  };
}
