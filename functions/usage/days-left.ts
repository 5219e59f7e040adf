/** How long a balance lasts at the pace of the last week. */
import { and, eq, gte, min, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { DAY_MS, quarterHourOf } from "../clock.ts";
import { rollups } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import type { AccountId } from "../ids.ts";
import type { Nanodollars } from "../money.ts";

const WEEK_MS = 7 * DAY_MS;

/**
 * Days, to the tenth; null where nothing was spent. Who began within the week is measured from the first quarter hour
 * of use, but by a day at least: the first hour says nothing of the next.
 */
export async function daysLeft(
  env: Env,
  account: AccountId,
  available: Nanodollars,
  now: number,
): Promise<number | null> {
  const since = quarterHourOf(now - WEEK_MS);
  const week = await drizzle(env.DB)
    .select({
      cost: sql<string>`cast(coalesce(sum(${rollups.cost}), 0) as text)`,
      first: min(rollups.bucket),
    })
    .from(rollups)
    .where(and(eq(rollups.account, account), gte(rollups.bucket, since)))
    .get();
  const cost = Number(week?.cost ?? 0);
  if (cost <= 0 || !week?.first) return null;
  const days = Math.max(DAY_MS, Math.min(WEEK_MS, now - week.first)) / DAY_MS;
  return Math.round((Math.max(0, available) / (cost / days)) * 10) / 10;
}
