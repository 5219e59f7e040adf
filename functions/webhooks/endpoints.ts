/**
 * Endpoints of an account, as its keys manage them. A secret is in one answer and never again; it is kept encrypted,
 * since signing needs it. The account's object learns what is asked for before D1 lists it: an event too many costs a
 * row, one too few would be lost.
 */
import { and, asc, count, eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import type { z } from "zod";
import { body, pathParam } from "../admin/input.ts";
import { onceOf } from "../admission/idempotency.ts";
import type { AppEnv } from "../app.ts";
import { accountObject } from "../auth/accounts.ts";
import { iso, SECOND_MS } from "../clock.ts";
import { type SealedSecret, webhookDeliveries, webhookEndpoints } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import { invalid, notFound, Refusal } from "../errors.ts";
import { type EndpointId, newEndpointId } from "../ids.ts";
import { type Claim, hasMade, stillMaking } from "../objects/idempotency.ts";
import { type Endpoint, giveUp } from "./dispatch.ts";
import { endpointBody, endpointChange, rotation } from "./fields.ts";
import { newSecret, seal } from "./secrets.ts";
import { decideUrl, urlPolicy } from "./url-policy.ts";

const MAX_ENDPOINTS = 10;
/** Longer than it takes to make one: after it, who claimed an id and has not made it is gone. */
const MAKING_MS = 30 * SECOND_MS;

export async function listEndpoints(c: Context<AppEnv>): Promise<Response> {
  const rows = await drizzle(c.env.DB)
    .select()
    .from(webhookEndpoints)
    .where(eq(webhookEndpoints.account, c.get("account")))
    .orderBy(asc(webhookEndpoints.id));
  return c.json({ object: "list", data: rows.map(endpointView) });
}

export async function createEndpoint(c: Context<AppEnv>): Promise<Response> {
  const given = await body(c, endpointBody);
  const url = allowedUrl(c.env, given.url);
  const once = await onceOf(c, given);
  if (!once) return c.json(await makeEndpoint(c, { ...given, url }, newEndpointId()), 201);
  const object = accountObject(c.env, c.get("account"));
  const claim = await object.claim(once, newEndpointId());
  if ("status" in claim) throw new Refusal(claim);
  if (!claim.isFirst) await refuseRepeated(c.env, claim);
  try {
    const made = await makeEndpoint(c, { ...given, url }, claim.made as EndpointId);
    await object.confirmClaim(once, claim);
    return c.json(made, 201);
  } catch (error) {
    // Refused is not made. Anything else may have been: the claim says under which id.
    if (error instanceof Refusal && error.error.status === 400) await object.dropClaim(once, claim);
    throw error;
  }
}

/** The path is in the fingerprint, so what was made is an endpoint. Throws a Refusal (409) where the first to ask has made it, or may be about to. One that died is taken over. */
async function refuseRepeated(env: Env, { made, isDone, at }: Claim): Promise<void> {
  const mine = eq(webhookEndpoints.id, made as EndpointId);
  const isThere =
    isDone ||
    (await drizzle(env.DB).select({ id: webhookEndpoints.id }).from(webhookEndpoints).where(mine).get());
  if (isThere) throw new Refusal(hasMade(made));
  if (Date.now() - at < MAKING_MS) throw new Refusal(stillMaking());
}

async function makeEndpoint(c: Context<AppEnv>, given: z.output<typeof endpointBody>, id: EndpointId) {
  const account = c.get("account");
  const db = drizzle(c.env.DB);
  const mine = eq(webhookEndpoints.account, account);
  const standing = await db.select({ n: count() }).from(webhookEndpoints).where(mine).get();
  if ((standing?.n ?? 0) >= MAX_ENDPOINTS) {
    const message = `An account has at most ${MAX_ENDPOINTS} endpoints. Delete one first.`;
    throw new Refusal(invalid(message, undefined, "too_many_endpoints"));
  }
  const { secret, kept } = await makeSecret(c.env, id);
  await accountObject(c.env, account).want(given.events);
  const row = await db
    .insert(webhookEndpoints)
    .values({
      id,
      account,
      url: given.url,
      description: given.description,
      events: given.events,
      state: "enabled",
      secrets: [kept],
      createdAt: Date.now(),
    })
    .onConflictDoNothing()
    .returning()
    .get();
  // Two that took over the same claim: the id lets one of them through.
  if (!row) throw new Refusal(hasMade(id));
  return { ...endpointView(row), secret };
}

export async function getEndpoint(c: Context<AppEnv>): Promise<Response> {
  return c.json(endpointView(await endpointOf(c)));
}

/** What is not named stays. Enabling one forgets how long it has failed; what had been given up is not sent again. */
export async function changeEndpoint(c: Context<AppEnv>): Promise<Response> {
  const { id, account } = await endpointOf(c);
  const { url, state, ...rest } = await body(c, endpointChange);
  if (rest.events) await accountObject(c.env, account).want(rest.events);
  const change = {
    ...(url !== undefined && { url: allowedUrl(c.env, url) }),
    ...(rest.description !== undefined && { description: rest.description }),
    ...(rest.events && { events: rest.events }),
    ...(state === "enabled" && { state, disabledBecause: null, failingSince: null }),
    ...(state === "disabled" && { state, disabledBecause: "Disabled by the account." }),
  };
  const row = await drizzle(c.env.DB)
    .update(webhookEndpoints)
    .set(change)
    .where(eq(webhookEndpoints.id, id))
    .returning()
    .get();
  if (state === "disabled") await giveUp(c.env, id);
  if (!row) throw new Refusal(noEndpoint(id));
  return c.json(endpointView(row));
}

export async function deleteEndpoint(c: Context<AppEnv>): Promise<Response> {
  const { id } = await endpointOf(c);
  const db = drizzle(c.env.DB);
  await db.batch([
    db.delete(webhookEndpoints).where(eq(webhookEndpoints.id, id)),
    db.delete(webhookDeliveries).where(eq(webhookDeliveries.endpoint, id)),
  ]);
  return c.json({ id, deleted: true });
}

/** A new secret. Both sign until the overlap is over; asked again meanwhile, the older of the two goes at once. */
export async function rotateSecret(c: Context<AppEnv>): Promise<Response> {
  const endpoint = await endpointOf(c);
  const { overlap_seconds } = await body(c, rotation);
  const { secret, kept } = await makeSecret(c.env, endpoint.id);
  const expiresAt = Date.now() + overlap_seconds * SECOND_MS;
  const former = endpoint.secrets.slice(0, 1).map((old) => ({ ...old, expiresAt }));
  const row = await drizzle(c.env.DB)
    .update(webhookEndpoints)
    .set({ secrets: overlap_seconds > 0 ? [kept, ...former] : [kept] })
    .where(eq(webhookEndpoints.id, endpoint.id))
    .returning()
    .get();
  if (!row) throw new Refusal(noEndpoint(endpoint.id));
  return c.json({ ...endpointView(row), secret });
}

/** The endpoint that the path names. Throws a Refusal (404) where it is not this account's. */
export async function endpointOf(c: Context<AppEnv>): Promise<Endpoint> {
  const id = pathParam(c, "id") as EndpointId;
  const row = await drizzle(c.env.DB)
    .select()
    .from(webhookEndpoints)
    .where(and(eq(webhookEndpoints.id, id), eq(webhookEndpoints.account, c.get("account"))))
    .get();
  if (!row) throw new Refusal(noEndpoint(id));
  return row;
}

const noEndpoint = (id: string) => notFound(`No webhook endpoint '${id}' in this account.`);

async function makeSecret(env: Env, endpoint: EndpointId): Promise<{ secret: string; kept: SealedSecret }> {
  const secret = newSecret();
  return {
    secret,
    kept: { sealed: await seal(env, endpoint, secret), hint: secret.slice(-4), expiresAt: null },
  };
}

function allowedUrl(env: Env, text: string): string {
  const decision = decideUrl(text, urlPolicy(env));
  if (!decision.ok)
    throw new Refusal(invalid(`'url' is refused: ${decision.because}.`, "url", "url_refused"));
  return decision.url;
}

const endpointView = (row: Endpoint) => ({
  id: row.id,
  url: row.url,
  description: row.description,
  events: row.events,
  state: row.state,
  disabled_because: row.disabledBecause,
  created_at: iso(row.createdAt),
  secrets: row.secrets
    .filter(({ expiresAt }) => expiresAt === null || expiresAt > Date.now())
    .map(({ hint, expiresAt }) => ({
      hint,
      expires_at: iso(expiresAt),
    })),
});
