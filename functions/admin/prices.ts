/**
 * Versions of prices: added, never changed, since settled requests name the version that they were priced with.
 * Decimal USD a million tokens outside, integer nanodollars a million tokens inside.
 */
import { and, asc, desc, eq, lte } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { iso } from "../clock.ts";
import { models, prices } from "../db/d1/schema.ts";
import { invalid, Refusal } from "../errors.ts";
import { refresh } from "../fleet/snapshot.ts";
import { newPriceId } from "../ids.ts";
import { formatUsd, type Nanodollars } from "../money.ts";
import { body, checked, usd } from "./input.ts";
import { modelId } from "./models.ts";

/** USD a million tokens. With models.ts's longest context a hold stays a safe integer of nanodollars. */
const MAX_RATE_USD = 100_000;

const rate = usd.refine((value) => value >= 0 && value <= MAX_RATE_USD * 1e9, {
  error: `must be 0 to ${MAX_RATE_USD} USD a million tokens`,
});

export const priceBody = z
  .strictObject({
    model: modelId,
    input: rate,
    cached_input: rate,
    output: rate,
    effective_at: z.iso.datetime({ offset: true, error: "must be ISO 8601 with a zone" }).optional(),
  })
  .refine((price) => price.cached_input <= price.input, {
    path: ["cached_input"],
    error: "must not be more than input: a cached prompt never costs more than an uncached one",
  });

export const priceQuery = z.strictObject({ model: z.string().optional() });

export async function listPrices(c: Context<AppEnv>): Promise<Response> {
  const { model } = checked(priceQuery, c.req.query());
  const rows = await drizzle(c.env.DB)
    .select()
    .from(prices)
    .where(model === undefined ? undefined : eq(prices.model, model))
    .orderBy(asc(prices.model), asc(prices.effectiveAt), asc(prices.id));
  return c.json({ object: "list", data: rows.map(priceView) });
}

export async function addPrice(c: Context<AppEnv>): Promise<Response> {
  const { effective_at, ...given } = await body(c, priceBody);
  const now = Date.now();
  const effectiveAt = effective_at === undefined ? now : Date.parse(effective_at);
  const db = drizzle(c.env.DB);
  const [known, before] = await db.batch([
    db.select().from(models).where(eq(models.id, given.model)),
    db
      .select()
      .from(prices)
      .where(and(eq(prices.model, given.model), lte(prices.effectiveAt, now)))
      .orderBy(desc(prices.effectiveAt))
      .limit(1),
  ]);
  if (known.length === 0) throw new Refusal(invalid(`There is no model '${given.model}'.`, "model"));
  // It would never be in force: the newest effective time wins.
  if (before[0] && effectiveAt <= before[0].effectiveAt) {
    const since = iso(before[0].effectiveAt);
    throw new Refusal(
      invalid(`A price is in force since ${since}: a new one must begin later.`, "effective_at"),
    );
  }
  const row = await db
    .insert(prices)
    .values({
      id: newPriceId(),
      model: given.model,
      input: given.input,
      cachedInput: given.cached_input,
      output: given.output,
      effectiveAt,
      createdAt: now,
    })
    .returning()
    .get();
  await refresh(c.env);
  return c.json(priceView(row), 201);
}

const priceView = (row: typeof prices.$inferSelect) => ({
  id: row.id,
  model: row.model,
  input: formatUsd(row.input as Nanodollars),
  cached_input: formatUsd(row.cachedInput as Nanodollars),
  output: formatUsd(row.output as Nanodollars),
  effective_at: iso(row.effectiveAt),
  created_at: iso(row.createdAt),
});
