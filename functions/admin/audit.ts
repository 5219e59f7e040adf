/**
 * GET /admin/audit: recomputes every account's money from its rows and compares all that should agree: the object's
 * own books, its journal with D1's events, events with rollups, charges with prices, and counts with what the
 * backends themselves remember. It finds and changes nothing; what is merely under way is no finding.
 */
import { asc, eq } from "drizzle-orm";
import { type DrizzleD1Database, drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { accountObject } from "../auth/accounts.ts";
import { iso } from "../clock.ts";
import { accounts, marks, prices } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import { notFound, Refusal } from "../errors.ts";
import { type Backend, loadBackends } from "../fleet/snapshot.ts";
import type { AccountId } from "../ids.ts";
import { formatUsd, type PriceVersion } from "../money.ts";
import { compareAttempts } from "./audit/attempts.ts";
import { Charges } from "./audit/charges.ts";
import { Findings } from "./audit/findings.ts";
import { compareJournal } from "./audit/journal.ts";
import { compareRollups } from "./audit/rollups.ts";
import { checked } from "./input.ts";

export const auditQuery = z.strictObject({ account: z.string().optional() });

export async function audit(c: Context<AppEnv>): Promise<Response> {
  const { account } = checked(auditQuery, c.req.query());
  const db = drizzle(c.env.DB);
  const listed = await db
    .select({ id: accounts.id })
    .from(accounts)
    .where(account === undefined ? undefined : eq(accounts.id, account as AccountId))
    .orderBy(asc(accounts.id));
  if (account !== undefined && listed.length === 0) throw new Refusal(notFound(`No account '${account}'.`));
  const versions = await db.select().from(prices);
  const known: Known = {
    prices: new Map(versions.map((version) => [version.id, version])),
    backends: await loadBackends(c.env),
  };
  const results = [];
  for (const { id } of listed) results.push(await auditAccount(c.env, id, known));
  return c.json({
    clean: results.every((result) => result.findings.length === 0),
    accounts: results,
    checked_at: iso(Date.now()),
  });
}

interface Known {
  readonly prices: ReadonlyMap<string, PriceVersion>;
  readonly backends: ReadonlyMap<string, Backend>;
}

async function auditAccount(env: Env, account: AccountId, known: Known) {
  const findings = new Findings();
  try {
    return { account, ...(await examine(env, account, known, findings)), findings: findings.list() };
  } catch (error) {
    // One account that cannot be read must not hide the others; nor does it pass as clean.
    console.error(`the audit of ${account} broke off: ${error}`);
    findings.add("unreadable", "the audit broke off: its books or D1 could not be read");
    return { account, findings: findings.list() };
  }
}

async function examine(env: Env, account: AccountId, known: Known, findings: Findings) {
  const object = accountObject(env, account);
  await object.open(account);
  const db = drizzle(env.DB);
  const charges = new Charges(known.prices, findings);
  // D1 first and the object after it: whatever moves in between, the object is the one that is ahead.
  const mark = await compareJournal(db, object, account, charges, findings);
  await compareRollups(db, account, findings);
  const books = (await object.audit())!;
  for (const finding of books.findings) findings.add("books", finding);
  if (mark > books.last) findings.add("mark", `D1's mark ${mark} is beyond the journal's end ${books.last}`);
  // Both may have moved since: the object's is never ahead of D1's, which is therefore read again after it.
  const now = await markOf(db, account);
  if (books.mark > now) findings.add("mark", `the object takes ${books.mark} for D1's mark, which is ${now}`);
  const attempts = await compareAttempts(known.backends, charges, findings);
  return {
    balance: formatUsd(books.balance),
    held: formatUsd(books.held),
    available: formatUsd(books.available),
    entries: books.last,
    mark,
    pending: Math.max(0, books.last - mark),
    open_reservations: books.openReservations,
    attempts_checked: attempts.checked,
    attempts_unverifiable: attempts.unverifiable,
  };
}

async function markOf(db: DrizzleD1Database, account: AccountId): Promise<number> {
  const row = await db.select().from(marks).where(eq(marks.account, account)).get();
  return row?.mark ?? 0;
}
