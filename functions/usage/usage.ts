/**
 * GET /v1/usage: what an account used in any range, cut into buckets of its own time zone. It comes from D1's rollups
 * alone, which the outbox fills; `as_of` says up to where, and what is still on its way or running.
 */
import { and, asc, eq, gte, isNull, lt, type SQL, type SQLWrapper, sql } from "drizzle-orm";
import { type DrizzleD1Database, drizzle } from "drizzle-orm/d1";
import type { Context } from "hono";
import type { AppEnv } from "../app.ts";
import { accountObject } from "../auth/accounts.ts";
import { HOUR_MS, iso } from "../clock.ts";
import { fleetEvents, marks, prices, rollups } from "../db/d1/schema.ts";
import { Refusal } from "../errors.ts";
import type { AccountId } from "../ids.ts";
import { formatUsd } from "../money.ts";
import { firstIssue } from "../surfaces/openai/schema.ts";
import { bucketStarts } from "./buckets.ts";
import { type Filters, type GroupBy, type Range, type UsageQuery, usageQuery } from "./range.ts";
import { type CountField, Sums, seriesOf, total } from "./sums.ts";

/** Groups of one answer; what is beyond them is `other`. */
const MAX_GROUPS = 20;
/** Histograms are joined in SQL over so long at most: D1's values end at 2 MB. */
const JOINED_MS = 6 * HOUR_MS;
const MAX_MARKS = 50;

export async function usage(c: Context<AppEnv>): Promise<Response> {
  const parsed = usageQuery.safeParse(c.req.query());
  if (!parsed.success) throw new Refusal(firstIssue(parsed.error));
  const query = parsed.data;
  const { from, to, starts, zone, groupBy, previous, filters } = query;
  const account = c.get("account");
  const object = accountObject(c.env, account);
  const db = drizzle(c.env.DB);

  const previousStarts =
    previous && (bucketStarts(previous.from, previous.to, query.bucket, zone) ?? [previous.from]);
  const now = statements(db, account, query, starts, query);
  const then = statements(db, account, query, previousStarts ?? [], previous ?? query);
  const [[at], changes, outages, rows, rowsThen] = await db.batch([
    db.select().from(marks).where(eq(marks.account, account)),
    db
      .select({ at: prices.effectiveAt, model: prices.model })
      .from(prices)
      .where(and(gte(prices.effectiveAt, from), lt(prices.effectiveAt, to)))
      .orderBy(asc(prices.effectiveAt))
      .limit(MAX_MARKS),
    db
      .select({ at: fleetEvents.at, kind: fleetEvents.kind, region: fleetEvents.region })
      .from(fleetEvents)
      .where(
        and(
          isNull(fleetEvents.backend),
          gte(fleetEvents.at, from),
          lt(fleetEvents.at, to),
          filters.region === undefined ? undefined : eq(fleetEvents.region, filters.region),
        ),
      )
      .orderBy(asc(fleetEvents.at))
      .limit(MAX_MARKS),
    now.all,
    then.all,
  ]);
  const mark = at?.mark ?? 0;
  // Asked after D1 was read: nothing that D1 lacked then is missing from the numbers.
  const standing = await object.standing(mark);

  const cells = new Cells(starts.length, rows);
  const cellsThen = previousStarts && new Cells(previousStarts.length, rowsThen);
  const soFar = Date.now();
  return c.json({
    object: "usage",
    from: iso(from),
    to: iso(to),
    snapped: query.snapped,
    bucket: query.bucket,
    time_zone: zone.name,
    group_by: groupBy ?? null,
    as_of: {
      settled_through: iso(standing.nextAt ?? soFar),
      journal_sequence: standing.last,
      projected_sequence: mark,
      pending_events: standing.last - mark,
    },
    open: {
      requests: standing.open,
      held: formatUsd(standing.held),
      held_nanodollars: String(standing.held),
    },
    pending_count: standing.awaited.length,
    running_bucket: starts.length > 0 && starts.at(-1)! <= soFar && soFar < to,
    buckets: starts.map(iso),
    totals: total(cells.all).view(),
    series: seriesOf(cells.all),
    previous:
      previous && cellsThen
        ? {
            from: iso(previous.from),
            to: iso(previous.to),
            totals: total(cellsThen.all).view(),
            buckets: previousStarts.map(iso),
            series: seriesOf(cellsThen.all),
          }
        : null,
    ...(groupBy ? grouped(cells, cellsThen) : { groups: [], other: null }),
    marks: [
      ...changes.map(({ at, model }) => ({ at, kind: "price", label: `${model}: price` })),
      ...outages.map(({ at, kind, region }) => ({
        ...{ at, kind },
        label: `${region}: ${kind.slice("region.".length)}`,
      })),
    ]
      .sort((a, b) => a.at - b.at)
      .map((mark) => ({ ...mark, at: iso(mark.at) })),
  });
}

function grouped(cells: Cells, then: Cells | undefined) {
  const viewOf = (id: string | null) => {
    const own = cells.of(id);
    const before = then?.of(id);
    return {
      totals: total(own).view(),
      previous: before ? total(before).view() : null,
      series: seriesOf(own),
    };
  };
  const order = (a: Sums, b: Sums) => compare(b.cost, a.cost) || compare(b.requests, a.requests);
  const ids = cells.ids.filter((id) => id !== null).map((id) => ({ id, sum: total(cells.of(id)) }));
  ids.sort((a, b) => order(a.sum, b.sum) || (a.id < b.id ? -1 : 1));
  const hasOther = cells.ids.includes(null) || then?.ids.includes(null);
  return {
    groups: ids.map(({ id }) => ({ id, ...viewOf(id) })),
    other: hasOther ? viewOf(null) : null,
  };
}

const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

/** The sums of an answer, by group and bucket. The group `null` is all that is not named. */
class Cells {
  readonly #length: number;
  readonly #groups = new Map<string | null, Sums[]>();

  constructor(length: number, rows: readonly Row[]) {
    this.#length = length;
    for (const row of rows) this.#cell(row).addRow(row);
  }

  get ids(): (string | null)[] {
    return [...this.#groups.keys()];
  }

  of(id: string | null): readonly Sums[] {
    return this.#groups.get(id) ?? this.#empty();
  }

  /** Over all groups. */
  get all(): readonly Sums[] {
    const all = this.#empty();
    for (const cells of this.#groups.values()) for (const [i, cell] of cells.entries()) all[i]!.add(cell);
    return all;
  }

  #empty(): Sums[] {
    return Array.from({ length: this.#length }, () => new Sums());
  }

  #cell({ bucket, id }: { bucket: number; id: string | null }): Sums {
    let cells = this.#groups.get(id);
    if (!cells) {
      cells = this.#empty();
      this.#groups.set(id, cells);
    }
    return cells[bucket]!;
  }
}

// SQL.

type Row = Readonly<Record<CountField | "ttft" | "speed", string>> & {
  readonly bucket: number;
  readonly id: string | null;
};

const COLUMNS = {
  model: rollups.model,
  region: rollups.region,
  backend: rollups.backend,
  key: rollups.keyId,
} as const;

/**
 * What is asked over the buckets of one period: sums alone, or with histograms. Each bucket is one search in the rollups' primary key (account,
 * quarter hour), so the cost is that of the rows in the range, however many others there are. The groups are those
 * of the asked range also for the period before.
 */
export function statements(
  db: DrizzleD1Database,
  account: AccountId,
  { groupBy, filters, ...range }: Asked,
  starts: readonly number[],
  { to }: Pick<Range, "to">,
) {
  const spans = JSON.stringify(starts.map((start, i) => [start, starts[i + 1] ?? to]));
  const largest = db.$with("largest").as(largestGroups(db, account, groupBy ?? "model", range, filters));
  const column = groupBy && COLUMNS[groupBy];
  const id = column
    ? sql<string | null>`case when ${column} in (select id from ${largest}) then ${column} end`
    : sql<string | null>`''`;
  const group = { bucket: sql<number>`span.key`, id };
  const select = <F extends Record<string, SQL>>(fields: F) =>
    (groupBy ? db.with(largest) : db)
      .select({ ...group, ...fields })
      .from(sql`json_each(${spans}) as span`)
      .crossJoin(rollups)
      .where(
        and(
          eq(rollups.account, account),
          sql`${rollups.bucket} >= span.value ->> 0`,
          sql`${rollups.bucket} < span.value ->> 1`,
          filtered(filters),
        ),
      );
  const sum = (field: CountField) => sql<string>`cast(sum(${rollups[field]}) as text)`;
  const joined = (column: SQLWrapper) => sql<string>`group_concat(hex(${column}), '')`;
  const sums = {
    requests: sum("requests"),
    failures: sum("failures"),
    clientLeft: sum("clientLeft"),
    refused: sum("refused"),
    failedOver: sum("failedOver"),
    input: sum("input"),
    cachedInput: sum("cachedInput"),
    output: sum("output"),
    reasoning: sum("reasoning"),
    cost: sum("cost"),
  } satisfies Record<CountField, SQL<string>>;
  return {
    sums: select(sums).groupBy(sql`1`, sql`2`),
    all: select({ ...sums, ttft: joined(rollups.ttft), speed: joined(rollups.speed) }).groupBy(
      sql`1`,
      sql`2`,
      sql`cast(${rollups.bucket} / ${JOINED_MS} as integer)`,
    ),
  };
}

export type Asked = Pick<UsageQuery, "groupBy" | "filters" | "from" | "to">;

/** By cost; `total` adds as floats do, which cannot overflow and only orders here. */
function largestGroups(
  db: DrizzleD1Database,
  account: AccountId,
  groupBy: GroupBy,
  { from, to }: Range,
  filters: Filters,
) {
  const column = COLUMNS[groupBy];
  return db
    .select({ id: sql<string>`${column}`.as("id") })
    .from(rollups)
    .where(
      and(eq(rollups.account, account), gte(rollups.bucket, from), lt(rollups.bucket, to), filtered(filters)),
    )
    .groupBy(column)
    .orderBy(sql`total(${rollups.cost}) desc`, sql`total(${rollups.requests}) desc`, asc(column))
    .limit(MAX_GROUPS);
}

function filtered(filters: Filters): SQL | undefined {
  const names = Object.keys(COLUMNS) as GroupBy[];
  return and(
    ...names.map((name) =>
      filters[name] === undefined ? undefined : sql`${COLUMNS[name]} = ${filters[name]}`,
    ),
  );
}
