/** Accounts and their money. D1 lists them; each account's object owns what is in it. */
import { and, asc, eq, gt } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { accountObject } from "../auth/accounts.ts";
import { iso } from "../clock.ts";
import { accounts, type FleetScope } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import { invalid, notFound, Refusal } from "../errors.ts";
import { type AccountId, type Jurisdiction, newAccountId } from "../ids.ts";
import { budgetsBody, limitsOf } from "../keys/fields.ts";
import { budgetsView } from "../keys/view.ts";
import { formatUsd } from "../money.ts";
import type { AccountObject } from "../objects/account.ts";
import { balanceView } from "../usage/balance.ts";
import { body, checked, name, pathParam, residency, usd } from "./input.ts";

type Account = typeof accounts.$inferSelect;

/** Whether GET /v1/regions shows it every backend, or its own requests alone. */
const fleetView = z.enum(["own", "full"]);

export const accountBody = z.strictObject({
  name,
  jurisdiction: z.enum(["eu"]).nullish(),
  residency: residency.nullish(),
  fleet_view: fleetView.optional(),
  budgets: budgetsBody.optional(),
});
export const accountChange = z
  .strictObject({
    residency: residency.nullable().optional(),
    fleet_view: fleetView.optional(),
    budgets: budgetsBody.optional(),
  })
  .refine((change) => Object.keys(change).length > 0, { error: "Send at least one field to change." });

export const page = z.strictObject({
  after: z.string().max(100).optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
});

export const journalPage = z.strictObject({
  after: z.coerce.number().int().min(0).default(0),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
});

export const creditBody = z.strictObject({
  amount: usd.refine((value) => value !== 0, { error: "must not be 0" }),
  /** The operator's own, such as the number of an invoice: the same one credits once. */
  reference: name.max(100),
});

export async function createAccount(c: Context<AppEnv>): Promise<Response> {
  const given = await body(c, accountBody);
  const jurisdiction = given.jurisdiction ?? null;
  const id = newAccountId(jurisdiction ?? undefined);
  const object = objectFor(c.env, id, jurisdiction);
  const row = await drizzle(c.env.DB)
    .insert(accounts)
    .values({
      id,
      name: given.name,
      jurisdiction,
      createdAt: Date.now(),
      fleetView: given.fleet_view ?? null,
    })
    .returning()
    .get();
  // After D1's row: a crash in between leaves an account that is opened when it is first used.
  await object.open(id);
  return c.json(await changed(row, object, given), 201);
}

/** Before D1 lists the account: a local run has no jurisdictions, and would list one that nobody can open. */
function objectFor(
  env: Env,
  id: AccountId,
  jurisdiction: Jurisdiction | null,
): DurableObjectStub<AccountObject> {
  try {
    return accountObject(env, id);
  } catch (error) {
    if (jurisdiction === null) throw error;
    const message = `Accounts cannot be held to '${jurisdiction}' where this runs. Leave jurisdiction out.`;
    throw new Refusal(invalid(message, "jurisdiction", "unsupported_parameter"));
  }
}

export async function listAccounts(c: Context<AppEnv>): Promise<Response> {
  const { after, limit } = checked(page, c.req.query());
  const rows = await drizzle(c.env.DB)
    .select()
    .from(accounts)
    .where(and(after === undefined ? undefined : gt(accounts.id, after as AccountId)))
    .orderBy(asc(accounts.id))
    .limit(limit + 1);
  const data = rows.slice(0, limit).map(accountView);
  return c.json({
    object: "list",
    data,
    has_more: rows.length > limit,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
  });
}

export async function getAccount(c: Context<AppEnv>): Promise<Response> {
  const { row, object } = await accountOf(c);
  const [residency, budgets, money] = await Promise.all([
    object.residency(),
    object.budgets(),
    object.balance(),
  ]);
  return c.json({
    ...accountView(row),
    residency,
    budgets: budgetsView(budgets),
    ...balanceView(money),
  });
}

/** Where the account may be served, and what it may spend: in force with its next admission. */
export async function changeAccount(c: Context<AppEnv>): Promise<Response> {
  const { row, object } = await accountOf(c);
  const given = await body(c, accountChange);
  const shown = given.fleet_view === undefined ? row : await setFleetView(c.env, row.id, given.fleet_view);
  return c.json(await changed(shown, object, given));
}

async function setFleetView(env: Env, id: AccountId, fleetView: FleetScope): Promise<Account> {
  return drizzle(env.DB).update(accounts).set({ fleetView }).where(eq(accounts.id, id)).returning().get();
}

/** What is not named stays as it is. */
async function changed(
  row: Account,
  object: DurableObjectStub<AccountObject>,
  { residency, budgets }: Pick<z.output<typeof accountChange>, "residency" | "budgets">,
) {
  const limits = await object.setBudgets(limitsOf(budgets));
  return {
    ...accountView(row),
    residency: residency === undefined ? await object.residency() : await object.setResidency(residency),
    budgets: budgetsView(limits),
  };
}

export async function addCredit(c: Context<AppEnv>): Promise<Response> {
  const { row, object } = await accountOf(c);
  const { amount, reference } = await body(c, creditBody);
  const result = await object.credit(amount, reference);
  if ("status" in result) throw new Refusal(result);
  const { credited, ...balance } = result;
  return c.json({
    account: row.id,
    credited,
    amount: formatUsd(amount),
    reference,
    ...balanceView(balance),
  });
}

/** The journal itself, oldest first: each charge, adjustment and credit with the balance after it. */
export async function listJournal(c: Context<AppEnv>): Promise<Response> {
  const { object } = await accountOf(c);
  const { after, limit } = checked(journalPage, c.req.query());
  const data = await object.journalAfter(after, limit);
  const { last } = await object.progress();
  return c.json({ object: "list", data, has_more: (data.at(-1)?.sequence ?? last) < last });
}

/** The account that the path names, and its object, opened. Throws a Refusal (404) when D1 does not list it. */
export async function accountOf(
  c: Context<AppEnv>,
): Promise<{ row: Account; object: DurableObjectStub<AccountObject> }> {
  const id = pathParam(c, "id") as AccountId;
  const row = await drizzle(c.env.DB).select().from(accounts).where(eq(accounts.id, id)).get();
  if (!row) throw new Refusal(notFound(`No account '${id}'.`));
  const object = accountObject(c.env, row.id);
  await object.open(row.id);
  return { row, object };
}

const accountView = (row: Account) => ({
  id: row.id,
  name: row.name,
  jurisdiction: row.jurisdiction,
  fleet_view: row.fleetView ?? "own",
  created_at: iso(row.createdAt),
});
