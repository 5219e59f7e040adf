/** The dashboard's sign-in by key: a session begins, says whose it is, and ends. */
import { eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { Hono } from "hono";
import type { AppEnv } from "../app.ts";
import { iso } from "../clock.ts";
import { accounts } from "../db/d1/schema.ts";
import { badKey, badSession, crossSite, invalid, missingScope, Refusal } from "../errors.ts";
import { snapshot } from "../fleet/snapshot.ts";
import { describes } from "../openapi/operation.ts";
import * as read from "../openapi/usage.ts";
import { readJson } from "../surfaces/openai/body.ts";
import { firstIssue } from "../surfaces/openai/schema.ts";
import { accountObject } from "./accounts.ts";
import { readKey } from "./key.ts";
import {
  endSession,
  giveSession,
  isCrossSite,
  isSameOrigin,
  makeSession,
  readSession,
  sessionCookie,
  signIn,
} from "./session.ts";

const MAX_BODY_BYTES = 4_096;

export const sessionRoutes = new Hono<AppEnv>();

/** Whoever has a key may hold a session; another site's page may not sign its visitor in. */
sessionRoutes.post("/", describes(read.signInWithKey), async (c) => {
  if (isCrossSite(c.req.raw)) throw new Refusal(crossSite());
  const parsed = signIn.safeParse(await readJson(c.req.raw, MAX_BODY_BYTES));
  if (!parsed.success) throw new Refusal(firstIssue(parsed.error));
  const key = await readKey(c.env, parsed.data.key.trim());
  const who = key && (await accountObject(c.env, key.account).identify(key.hash));
  if (!who) throw new Refusal(badKey("No such API key, or it was revoked."));
  if (!who.scopes.includes("usage")) throw new Refusal(missingScope("usage"));
  giveSession(c, await makeSession(c.env, key, Date.now()));
  return c.body(null, 204);
});

sessionRoutes.get("/", describes(read.session), async (c) => {
  if (c.req.header("authorization") || c.req.header("x-api-key"))
    throw new Refusal(
      invalid(
        "A session is told by its cookie alone. Send no API key.",
        undefined,
        "conflicting_credentials",
      ),
    );
  const cookie = sessionCookie(c);
  const session = cookie === undefined ? undefined : await readSession(c.env, cookie, Date.now());
  const who = session && (await accountObject(c.env, session.account).identify(session.hash));
  if (!who) throw new Refusal(badSession());
  const [account, view] = await Promise.all([
    drizzle(c.env.DB).select().from(accounts).where(eq(accounts.id, who.account)).get(),
    snapshot(c.env, (work) => c.executionCtx.waitUntil(work)),
  ]);
  c.header("cache-control", "no-store");
  return c.json({
    account: { id: who.account, name: account?.name ?? null },
    key: { id: who.key, name: who.name, hint: who.hint, scopes: who.scopes },
    environment: c.env.ENVIRONMENT,
    simulated: [...view.regions.values()].some((region) => region.simulatedDistanceMs !== null),
    fleet_view: account?.fleetView ?? "own",
    expires_at: iso(session.expiresAt),
  });
});

/** Ends it in this browser; a copy of the cookie lives on until its key is revoked or its twelve hours are over. */
sessionRoutes.delete("/", describes(read.signOut), (c) => {
  if (sessionCookie(c) !== undefined && !isSameOrigin(c.req.raw)) throw new Refusal(crossSite());
  endSession(c);
  return c.body(null, 204);
});
