/**
 * What an account reads about itself: its usage, one request, its balance. Usage comes from D1's rollups alone,
 * which the outbox fills; `pending_events` says how many journal entries are still on their way.
 */
import { and, asc, eq, gte, lt, type SQLWrapper, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { accountObject } from "../auth/accounts.ts";
import { events, marks, rollups } from "../db/d1/schema.ts";
import { invalid, notFound, Refusal } from "../errors.ts";
import { answerId, requestOfAnswer } from "../ids.ts";
import { budgetsView } from "../keys/view.ts";
import { firstIssue } from "../surfaces/openai/schema.ts";
import { balanceView } from "./balance.ts";
import { openView, settledView } from "./generation.ts";
import { BUCKET_MS, bucketStarts, usageQuery } from "./range.ts";
import { add, none, sumView } from "./sums.ts";

/** Groups of one answer, over all its buckets. */
const MAX_GROUPS = 20_000;

export async function usage(c: Context<AppEnv>): Promise<Response> {
  const parsed = usageQuery.safeParse(c.req.query());
  if (!parsed.success) throw new Refusal(firstIssue(parsed.error));
  const { from, to, snapped, bucket, model, key, region } = parsed.data;
  const account = c.get("account");
  const size = BUCKET_MS[bucket];
  const db = drizzle(c.env.DB);

  // A bucket's start in SQL as in bucketStarts: the first one may be cut by the range.
  const start = sql<number>`max(${from}, ${rollups.bucket} - ${rollups.bucket} % ${size})`;
  const total = (column: SQLWrapper) => sql<string>`cast(sum(${column}) as text)`;
  const [[at], rows] = await db.batch([
    db.select().from(marks).where(eq(marks.account, account)),
    db
      .select({
        start,
        model: rollups.model,
        key: rollups.keyId,
        region: rollups.region,
        requests: total(rollups.requests),
        failures: total(rollups.failures),
        input: total(rollups.input),
        cachedInput: total(rollups.cachedInput),
        output: total(rollups.output),
        reasoning: total(rollups.reasoning),
        cost: total(rollups.cost),
      })
      .from(rollups)
      .where(
        and(
          eq(rollups.account, account),
          gte(rollups.bucket, from),
          lt(rollups.bucket, to),
          model === undefined ? undefined : eq(rollups.model, model),
          key === undefined ? undefined : sql`${rollups.keyId} = ${key}`,
          region === undefined ? undefined : eq(rollups.region, region),
        ),
      )
      .groupBy(sql`1`, rollups.model, rollups.keyId, rollups.region)
      .orderBy(sql`1`, asc(rollups.model), asc(rollups.keyId), asc(rollups.region))
      .limit(MAX_GROUPS + 1),
  ]);
  if (rows.length > MAX_GROUPS) {
    throw new Refusal(
      invalid("That is too much for one answer: narrow the range, or take larger buckets.", "bucket"),
    );
  }
  // Asked after D1 was read: nothing that D1 lacked then is missing from the number.
  const { last } = await accountObject(c.env, account).progress();

  const groups = rows.map(({ start, model, key, region, ...counts }) => ({
    start,
    names: { model, key, region },
    sums: add(none(), counts),
  }));
  const byStart = Map.groupBy(groups, (group) => group.start);
  const buckets = bucketStarts(from, to, bucket).map((start) => ({
    start,
    groups: byStart.get(start) ?? [],
  }));
  const sumOf = (members: typeof groups) => members.reduce((sum, group) => add(sum, group.sums), none());
  const by = (name: "model" | "key" | "region") =>
    [...Map.groupBy(groups, (group) => group.names[name])]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([value, members]) => ({ [name]: value, ...sumView(sumOf(members)) }));
  return c.json({
    object: "usage",
    from: iso(from),
    to: iso(to),
    snapped,
    bucket,
    totals: sumView(sumOf(buckets.flatMap(({ groups }) => groups))),
    by_model: by("model"),
    by_key: by("key"),
    by_region: by("region"),
    buckets: buckets.map(({ start, groups }) => ({
      start: iso(start),
      ...sumView(sumOf(groups)),
      by: groups.map((group) => ({ ...group.names, ...sumView(group.sums) })),
    })),
    pending_events: last - (at?.mark ?? 0),
  });
}

export const generationQuery = z.strictObject({
  id: z.string({ error: "Send ?id= of an answer or a request." }),
});

/** The account's object has a request at once; what D1's mark has passed is read there. */
export async function generation(c: Context<AppEnv>): Promise<Response> {
  const parsed = generationQuery.safeParse(c.req.query());
  if (!parsed.success) throw new Refusal(firstIssue(parsed.error));
  const { id } = parsed.data;
  const request = requestOfAnswer(id);
  if (!request) throw new Refusal(invalid("An id is chatcmpl-... or req_....", "id"));
  const account = c.get("account");

  const seen = await accountObject(c.env, account).request(request);
  if (seen?.state === "open")
    return c.json({ id: answerId(request), request_id: request, ...openView(seen) });
  // After the object: what it let go of by then is in D1.
  const stored = await drizzle(c.env.DB)
    .select()
    .from(events)
    .where(and(eq(events.requestId, request), eq(events.account, account)));
  const rows = new Map([...stored, ...(seen?.rows ?? [])].map((row) => [row.sequence, row]));
  const view = settledView([...rows.values()].sort((a, b) => a.sequence - b.sequence));
  if (!view) throw new Refusal(notFound(`No request '${id}' in this account.`, "not_found", "id"));
  return c.json({ id: answerId(request), request_id: request, ...view });
}

export async function balance(c: Context<AppEnv>): Promise<Response> {
  const object = accountObject(c.env, c.get("account"));
  const [money, budgets] = await Promise.all([object.balance(), object.budgets()]);
  return c.json({ object: "balance", ...balanceView(money), budgets: budgetsView(budgets) });
}

const iso = (ms: number): string => new Date(ms).toISOString();
