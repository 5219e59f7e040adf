/** Backends and the regions that they stand in. */
import { asc, eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { iso } from "../clock.ts";
import { type BackendKind, backends, models, regions } from "../db/d1/schema.ts";
import { dialects } from "../dispatch/dialects/by-kind.ts";
import { invalid, notFound, Refusal } from "../errors.ts";
import { refresh } from "../fleet/snapshot.ts";
import type { BackendId } from "../ids.ts";
import { formatUsd, ZERO } from "../money.ts";
import { body, checked, name, pathParam, usd } from "./input.ts";
import { MAX_CONTEXT } from "./models.ts";

const regionId = z.string().regex(/^[a-z0-9-]{1,40}$/, { error: "must be a-z, 0-9 and -, at most 40" });

export const regionBody = z.strictObject({
  name,
  /** The names of Durable Object location hints. */
  zone: z.enum(["wnam", "enam", "sam", "weur", "eeur", "apac", "apac-ne", "apac-se", "oc", "afr", "me"]),
  simulated_distance_ms: z.int().min(0).max(10_000).nullish(),
  jurisdiction: z
    .string()
    .regex(/^[a-z]{2,10}$/, { error: "must be a jurisdiction such as 'eu'" })
    .nullish(),
});

export async function listRegions(c: Context<AppEnv>): Promise<Response> {
  const rows = await drizzle(c.env.DB).select().from(regions).orderBy(asc(regions.id));
  return c.json({ object: "list", data: rows.map(regionView) });
}

export async function putRegion(c: Context<AppEnv>): Promise<Response> {
  const id = checked(z.object({ id: regionId }), { id: pathParam(c, "id") }).id;
  const given = await body(c, regionBody);
  const values = {
    name: given.name,
    zone: given.zone,
    simulatedDistanceMs: given.simulated_distance_ms ?? null,
    jurisdiction: given.jurisdiction ?? null,
  };
  const row = await drizzle(c.env.DB)
    .insert(regions)
    .values({ id, ...values })
    .onConflictDoUpdate({ target: regions.id, set: values })
    .returning()
    .get();
  await refresh(c.env);
  return c.json(regionView(row));
}

const regionView = (row: typeof regions.$inferSelect) => ({
  id: row.id,
  name: row.name,
  zone: row.zone,
  simulated_distance_ms: row.simulatedDistanceMs,
  jurisdiction: row.jurisdiction,
});

const backendId = z.string().regex(/^bknd_[A-Za-z0-9.-]{1,60}$/, {
  error: "must be bknd_ and up to 60 of A-Z, a-z, 0-9, . and -",
});
const chip = z.enum(["gpu", "npu", "cpu"]);

const MAX_REQUESTS = 1_000_000;
const rate = z.number().min(0.01).max(1e9);

export const backendBody = z.strictObject({
  name,
  region: regionId,
  model: z.string().min(1).max(200),
  served_as: z.string().min(1).max(200),
  kind: z.enum(Object.keys(dialects) as BackendKind[]),
  chip,
  plays: chip.nullish(),
  url: z
    .string()
    .max(500)
    .refine(isBackendUrl, { error: "must be an http or https URL without credentials, query and fragment" }),
  secret_name: z.string().regex(/^BACKEND_[A-Z0-9_]{1,60}$/, { error: "must be BACKEND_ and A-Z, 0-9, _" }),
  state: z.enum(["active", "draining"]),
  /** USD a million tokens. */
  cost: z.strictObject({ input: usd, cached_input: usd, output: usd }).nullish(),
  /** Prompt and answer together, where it is less than the model's. */
  context_length: z.int().min(1).max(MAX_CONTEXT).nullish(),
  /** false: it cannot call tools, and gets no request that brings some. */
  tools: z.boolean().nullish(),
  /** What it runs at once, and what may wait there beyond that. A full one is passed over. */
  max_concurrent: z.int().min(1).max(MAX_REQUESTS).nullish(),
  max_waiting: z.int().min(0).max(MAX_REQUESTS).nullish(),
  /** Where routing starts until it has measured. */
  prefill_tokens_per_second: rate.nullish(),
  decode_tokens_per_second: rate.nullish(),
});

function isBackendUrl(text: string): boolean {
  const url = URL.parse(text);
  return (
    url !== null &&
    (url.protocol === "http:" || url.protocol === "https:") &&
    url.username === "" &&
    url.password === "" &&
    // An empty query or fragment leaves no trace in the parsed URL, and would cut what is appended to the text.
    !/[?#\s\\]/.test(text)
  );
}

export async function listBackends(c: Context<AppEnv>): Promise<Response> {
  const rows = await drizzle(c.env.DB).select().from(backends).orderBy(asc(backends.id));
  return c.json({ object: "list", data: rows.map(backendView) });
}

export async function putBackend(c: Context<AppEnv>): Promise<Response> {
  const id = checked(z.object({ id: backendId }), { id: pathParam(c, "id") }).id as BackendId;
  const given = await body(c, backendBody);
  const db = drizzle(c.env.DB);
  const [region, model] = await db.batch([
    db.select().from(regions).where(eq(regions.id, given.region)),
    db.select().from(models).where(eq(models.id, given.model)),
  ]);
  if (region.length === 0) throw new Refusal(invalid(`There is no region '${given.region}'.`, "region"));
  if (model.length === 0) throw new Refusal(invalid(`There is no model '${given.model}'.`, "model"));
  if (given.max_waiting != null && given.max_concurrent == null)
    throw new Refusal(
      invalid("'max_waiting' needs 'max_concurrent': what waits is beyond that.", "max_waiting"),
    );
  if (given.context_length != null && given.context_length > model[0]!.contextLength)
    throw new Refusal(
      invalid(
        `'context_length' must not be more than the model's (${model[0]!.contextLength}).`,
        "context_length",
      ),
    );
  const { cost } = given;
  const costs = {
    costInput: cost?.input ?? null,
    costCachedInput: cost?.cached_input ?? null,
    costOutput: cost?.output ?? null,
  };
  const values = {
    name: given.name,
    region: given.region,
    model: given.model,
    servedAs: given.served_as,
    kind: given.kind,
    chip: given.chip,
    plays: given.plays ?? null,
    url: given.url,
    secretName: given.secret_name,
    state: given.state,
    ...costs,
    contextLength: given.context_length ?? null,
    tools: given.tools ?? null,
    maxConcurrent: given.max_concurrent ?? null,
    maxWaiting: given.max_waiting ?? null,
    prefillTokensPerSecond: given.prefill_tokens_per_second ?? null,
    decodeTokensPerSecond: given.decode_tokens_per_second ?? null,
  };
  const row = await db
    .insert(backends)
    .values({ id, ...values, createdAt: Date.now() })
    .onConflictDoUpdate({ target: backends.id, set: values })
    .returning()
    .get();
  await refresh(c.env);
  return c.json(backendView(row));
}

/** Requests that it serves go on to their end; its attempts can no longer be asked for their counts. */
export async function deleteBackend(c: Context<AppEnv>): Promise<Response> {
  const id = pathParam(c, "id") as BackendId;
  const gone = await drizzle(c.env.DB).delete(backends).where(eq(backends.id, id)).returning().get();
  if (!gone) throw new Refusal(notFound(`No backend '${id}'.`));
  await refresh(c.env);
  return c.json({ id, deleted: true });
}

const costView = (row: typeof backends.$inferSelect) => ({
  input: formatUsd(row.costInput ?? ZERO),
  cached_input: formatUsd(row.costCachedInput ?? ZERO),
  output: formatUsd(row.costOutput ?? ZERO),
});

const backendView = (row: typeof backends.$inferSelect) => ({
  id: row.id,
  name: row.name,
  region: row.region,
  model: row.model,
  served_as: row.servedAs,
  kind: row.kind,
  chip: row.chip,
  plays: row.plays,
  url: row.url,
  secret_name: row.secretName,
  state: row.state,
  cost: row.costInput === null ? null : costView(row),
  context_length: row.contextLength,
  tools: row.tools,
  max_concurrent: row.maxConcurrent,
  max_waiting: row.maxWaiting,
  prefill_tokens_per_second: row.prefillTokensPerSecond,
  decode_tokens_per_second: row.decodeTokensPerSecond,
  created_at: iso(row.createdAt),
});
