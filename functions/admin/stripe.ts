/** What Stripe told, newest first: what was paid and could not be credited is here for an operator to look at. */
import { and, desc, eq, lt } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { iso } from "../clock.ts";
import { stripeEvents } from "../db/d1/schema.ts";
import { formatUsd } from "../money.ts";
import { checked } from "./input.ts";

export const stripePage = z.strictObject({
  /** `unknown_account`, `not_usd`, ... */
  outcome: z.string().max(100).optional(),
  before: z.iso.datetime().optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
});

export async function listStripeEvents(c: Context<AppEnv>): Promise<Response> {
  const { outcome, before, limit } = checked(stripePage, c.req.query());
  const rows = await drizzle(c.env.DB)
    .select()
    .from(stripeEvents)
    .where(
      and(
        outcome === undefined ? undefined : eq(stripeEvents.outcome, outcome),
        before === undefined ? undefined : lt(stripeEvents.at, Date.parse(before)),
      ),
    )
    .orderBy(desc(stripeEvents.at))
    .limit(limit);
  const data = rows.map(({ at, amount, ...row }) => ({
    ...row,
    at: iso(at),
    amount: amount === null ? null : formatUsd(amount),
    amount_nanodollars: amount === null ? null : String(amount),
  }));
  return c.json({ object: "list", data });
}
