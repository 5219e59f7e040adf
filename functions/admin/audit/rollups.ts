/** D1's events against its rollups: every sum of every group. */
import { type SQL, sql } from "drizzle-orm";
import type { DrizzleD1Database } from "drizzle-orm/d1";
import { iso, QUARTER_HOUR_MS } from "../../clock.ts";
import { events, rollups } from "../../db/d1/schema.ts";
import type { AccountId } from "../../ids.ts";
import { FAILURES } from "../../usage/rollup.ts";
import type { Findings } from "./findings.ts";

interface Difference {
  bucket: number;
  model: string;
  region: string;
  backend: string;
  key_id: string;
  cost: string;
  requests: number;
}

/** One statement, so that both sides are read at the same moment: events count up, rollups down, and nothing is left. */
export async function compareRollups(
  db: DrizzleD1Database,
  account: AccountId,
  findings: Findings,
): Promise<void> {
  const different = await db.all<Difference>(differences(account));
  for (const { bucket, model, region, backend, key_id, requests, cost } of different) {
    const group = `${iso(bucket)} ${model} ${region} ${backend} ${key_id}`;
    findings.add(
      "rollup",
      `${group} is not the sum of its events: ${requests} requests and ${cost} nanodollars are missing`,
    );
  }
}

const differences = (account: AccountId): SQL => sql`
  select bucket, model, region, backend, key_id, sum(requests) as requests, cast(sum(cost) as text) as cost
  from (
    select at - at % ${QUARTER_HOUR_MS} as bucket, coalesce(model, '') as model, coalesce(region, '') as region,
      coalesce(backend, '') as backend, coalesce(key_id, '') as key_id, kind = 'usage' as requests,
      kind = 'usage' and coalesce(ending, '') in (select value from json_each(${JSON.stringify(FAILURES)})) as failures,
      kind = 'usage' and ending is 'client_left' as client_left, kind = 'usage' and ending is 'refused' as refused,
      kind = 'usage' and coalesce(json_array_length(attempts), 0) > 1 as failed_over,
      coalesce(input, 0) as input, coalesce(cached_input, 0) as cached_input, coalesce(output, 0) as output,
      coalesce(reasoning, 0) as reasoning, -amount as cost
    from ${events} where account = ${account} and kind <> 'credit'
    union all
    select bucket, model, region, backend, key_id, -requests, -failures, -client_left, -refused, -failed_over,
      -input, -cached_input, -output, -reasoning, -cost
    from ${rollups} where account = ${account}
  )
  group by bucket, model, region, backend, key_id
  having sum(requests) <> 0 or sum(failures) <> 0 or sum(client_left) <> 0 or sum(refused) <> 0
    or sum(failed_over) <> 0 or sum(input) <> 0 or sum(cached_input) <> 0
    or sum(output) <> 0 or sum(reasoning) <> 0 or sum(cost) <> 0
  order by bucket limit 1000`;
