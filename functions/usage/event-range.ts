/**
 * Where a moment lies in an account's events. Events have one order, that of their sequence, and time rises with it:
 * a search by halves over the primary key finds a moment in some twenty steps, where an index on time would cost a
 * row a request.
 */
import { type SQL, sql } from "drizzle-orm";
import { MINUTE_MS } from "../clock.ts";
import { events } from "../db/d1/schema.ts";
import type { AccountId } from "../ids.ts";

/** A machine's clock may have been set back between two entries: the search keeps that far from the edge. */
const CLOCK_MS = MINUTE_MS;

/** The first sequence that may be at or after `from`, as an expression. */
export const sequenceFrom = (account: AccountId, from: number): SQL => search(account, from - CLOCK_MS);

/** The first sequence that is certainly at or after `to`. */
export const sequenceTo = (account: AccountId, to: number): SQL => search(account, to + CLOCK_MS);

const search = (account: AccountId, at: number): SQL => sql`(
  with recursive search(low, high) as (
    select coalesce((select min(${events.sequence}) from ${events} where ${events.account} = ${account}), 1),
      coalesce((select max(${events.sequence}) from ${events} where ${events.account} = ${account}), 0) + 1
    union all
    select iif(${events.at} < ${at}, (low + high) / 2 + 1, low), iif(${events.at} < ${at}, high, (low + high) / 2)
    from search cross join ${events} on ${events.account} = ${account} and ${events.sequence} = (low + high) / 2
    where low < high
  )
  select coalesce(max(low), 0) from search where low >= high
)`;
