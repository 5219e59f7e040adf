/** What an account reads about one request and about its balance. */
import { and, eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { accountObject } from "../auth/accounts.ts";
import { events } from "../db/d1/schema.ts";
import { invalid, notFound, Refusal } from "../errors.ts";
import { answerId, type RequestId, requestOfAnswer } from "../ids.ts";
import { budgetsView } from "../keys/view.ts";
import type { RequestView } from "../objects/account.ts";
import { firstIssue } from "../surfaces/openai/schema.ts";
import { balanceView } from "./balance.ts";
import { daysLeft } from "./days-left.ts";
import { openView, settledView } from "./generation.ts";

export const generationQuery = z.strictObject({
  id: z.string({ error: "Send ?id= of an answer or a request." }),
});

export async function generation(c: Context<AppEnv>): Promise<Response> {
  const parsed = generationQuery.safeParse(c.req.query());
  if (!parsed.success) throw new Refusal(firstIssue(parsed.error));
  const { id } = parsed.data;
  const request = requestOfAnswer(id);
  if (!request) throw new Refusal(invalid("An id is chatcmpl-... or req_....", "id"));
  const found = await entriesOf(c, request);
  if (!found) throw new Refusal(notFound(`No request '${id}' in this account.`, "not_found", "id"));
  const view = found.state === "open" ? openView(found) : settledView(found.rows);
  return c.json({ id: answerId(request), request_id: request, ...view });
}

/**
 * A request of this account: open, or its usage row and what came after it, oldest first. The account's object has
 * a request at once; what D1's mark has passed is read there.
 */
export async function entriesOf(c: Context<AppEnv>, request: RequestId): Promise<RequestView | undefined> {
  const account = c.get("account");
  const seen = await accountObject(c.env, account).request(request);
  if (seen?.state === "open") return seen;
  // After the object: what it let go of by then is in D1.
  const stored = await drizzle(c.env.DB)
    .select()
    .from(events)
    .where(and(eq(events.requestId, request), eq(events.account, account)));
  const bySequence = new Map([...stored, ...(seen?.rows ?? [])].map((row) => [row.sequence, row]));
  const rows = [...bySequence.values()].sort((a, b) => a.sequence - b.sequence);
  return rows.some((row) => row.kind === "usage") ? { state: "settled", rows } : undefined;
}

export async function balance(c: Context<AppEnv>): Promise<Response> {
  const account = c.get("account");
  const object = accountObject(c.env, account);
  const [view, budgets] = await Promise.all([object.balance(), object.budgets()]);
  const days_left = await daysLeft(c.env, account, view.available, Date.now());
  return c.json({ object: "balance", ...balanceView(view), days_left, budgets: budgetsView(budgets) });
}
