/** The object's journal against D1's events: the same rows up to D1's mark, and none beyond it. */
import { and, asc, eq, gt, lte, sql } from "drizzle-orm";
import type { DrizzleD1Database } from "drizzle-orm/d1";
import { events, marks } from "../../db/d1/schema.ts";
import type { AccountId } from "../../ids.ts";
import type { AccountObject } from "../../objects/account.ts";
import type { JournalRow } from "../../objects/ledger.ts";
import type { Charges } from "./charges.ts";
import type { Findings } from "./findings.ts";

const PAGE = 1_000;

type EventRow = typeof events.$inferSelect;

/** Feeds every journal row to `charges` on the way, rows that are still pending too. Returns D1's mark. */
export async function compareJournal(
  db: DrizzleD1Database,
  object: DurableObjectStub<AccountObject>,
  account: AccountId,
  charges: Charges,
  findings: Findings,
): Promise<number> {
  // In one batch: the mark moves in the transaction that writes the events.
  const [[at], [beyond]] = await db.batch([
    db.select().from(marks).where(eq(marks.account, account)),
    db
      .select({ events: sql<number>`count(*)` })
      .from(events)
      .where(
        and(
          eq(events.account, account),
          sql`${events.sequence} > coalesce((select ${marks.mark} from ${marks} where ${marks.account} = ${account}), 0)`,
        ),
      ),
  ]);
  const mark = at?.mark ?? 0;
  if (beyond && beyond.events > 0)
    findings.add("mark", `D1 has ${beyond.events} events beyond its mark ${mark}`);

  for (let after = 0; ; ) {
    // The type of an RPC's answer is a mapped one; what arrives are rows.
    const page = (await object.journalAfter(after, PAGE)) as JournalRow[];
    const to = Math.min(mark, page.at(-1)?.sequence ?? mark);
    const stored = after < to ? await eventsOf(db, account, after, to) : [];
    comparePage(page, stored, mark, findings);
    for (const row of page) charges.see(row);
    if (page.length === 0) break;
    after = page.at(-1)!.sequence;
  }
  return mark;
}

async function eventsOf(
  db: DrizzleD1Database,
  account: AccountId,
  after: number,
  to: number,
): Promise<EventRow[]> {
  return db
    .select()
    .from(events)
    .where(and(eq(events.account, account), gt(events.sequence, after), lte(events.sequence, to)))
    .orderBy(asc(events.sequence))
    .limit(2 * PAGE);
}

function comparePage(
  page: readonly JournalRow[],
  stored: readonly EventRow[],
  mark: number,
  findings: Findings,
): void {
  const bySequence = new Map(stored.map((row) => [row.sequence, row]));
  for (const row of page) {
    if (row.sequence > mark) break;
    const event = bySequence.get(row.sequence);
    bySequence.delete(row.sequence);
    if (!event) findings.add("journal", `entry ${row.sequence} is below D1's mark and not in D1`);
    else {
      const fields = differing(row, event);
      if (fields.length > 0)
        findings.add("journal", `entry ${row.sequence} differs in D1: ${fields.join(", ")}`);
    }
  }
  for (const sequence of bySequence.keys()) {
    findings.add("journal", `D1 has an entry ${sequence} that the journal has not`);
  }
}

function differing(row: JournalRow, event: EventRow): string[] {
  const fields = Object.keys(row) as (keyof JournalRow)[];
  return fields.filter((field) => JSON.stringify(row[field]) !== JSON.stringify(event[field]));
}
