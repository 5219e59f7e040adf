/** The models that the platform knows. One without a price is not sold (prices.ts). */
import { asc } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { iso } from "../clock.ts";
import { models } from "../db/d1/schema.ts";
import { refresh } from "../fleet/snapshot.ts";
import { body, checked, name, pathParam } from "./input.ts";

export const modelId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,199}$/, {
  error: "must be A-Z, a-z, 0-9 and . _ : @ / -, at most 200",
});

/** Holds stay within money's range: prices.ts bounds the other factor. */
export const MAX_CONTEXT = 10_000_000;

export const modelBody = z
  .strictObject({
    name,
    description: z.string().max(2_000),
    owned_by: name,
    context_length: z.int().min(1).max(MAX_CONTEXT),
    default_max_output_tokens: z.int().min(1),
  })
  .refine((model) => model.default_max_output_tokens <= model.context_length, {
    path: ["default_max_output_tokens"],
    error: "must not be more than context_length",
  });

export async function listModels(c: Context<AppEnv>): Promise<Response> {
  const rows = await drizzle(c.env.DB).select().from(models).orderBy(asc(models.id));
  return c.json({ object: "list", data: rows.map(modelView) });
}

export async function putModel(c: Context<AppEnv>): Promise<Response> {
  const { id } = checked(z.object({ id: modelId }), { id: pathParam(c, "id") });
  const given = await body(c, modelBody);
  const values = {
    name: given.name,
    description: given.description,
    ownedBy: given.owned_by,
    contextLength: given.context_length,
    defaultMaxOutputTokens: given.default_max_output_tokens,
  };
  const row = await drizzle(c.env.DB)
    .insert(models)
    .values({ id, ...values, createdAt: Date.now() })
    .onConflictDoUpdate({ target: models.id, set: values })
    .returning()
    .get();
  await refresh(c.env);
  return c.json(modelView(row));
}

const modelView = (row: typeof models.$inferSelect) => ({
  id: row.id,
  name: row.name,
  description: row.description,
  owned_by: row.ownedBy,
  context_length: row.contextLength,
  default_max_output_tokens: row.defaultMaxOutputTokens,
  created_at: iso(row.createdAt),
});
