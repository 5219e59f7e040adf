/** What the document says of reading: usage, requests, journal, and the dashboard's session. */
import { z } from "zod";
import { SCOPES } from "../auth/scopes.ts";
import { signIn } from "../auth/session.ts";
import { BUCKETS } from "../usage/buckets.ts";
import { journalQuery } from "../usage/journal.ts";
import { usageQuery } from "../usage/range.ts";
import { histogramQuery } from "../usage/request-histogram.ts";
import { listQuery } from "../usage/requests.ts";
import { OUTCOMES } from "../usage/rollup.ts";
import { instant, usdText, wholeText } from "./fields.ts";
import type { Operation } from "./operation.ts";
import { generationFields } from "./v1.ts";

/** A number, or its text beyond 2^53. */
const count = z.union([z.int(), wholeText]);
const totalFields = {
  requests: count,
  failures: count,
  finished: count,
  client_left: count,
  failed: count,
  refused: count,
  failed_over: count,
  input_tokens: count,
  cached_input_tokens: count,
  output_tokens: count,
  reasoning_tokens: count,
  cost: usdText,
  cost_nanodollars: wholeText,
  ttft_ms: z.strictObject({ p50: z.number(), p95: z.number(), p99: z.number() }).nullable(),
  output_tokens_per_second: z.strictObject({ p5: z.number(), p50: z.number() }).nullable(),
  cache_share: z.number().nullable(),
};
const totals = z.strictObject(totalFields).meta({ id: "UsageTotals" });
const series = z
  .strictObject(
    Object.fromEntries(Object.entries(totalFields).map(([name, field]) => [name, z.array(field)])),
  )
  .meta({ id: "UsageSeries", description: "The same fields, each a list with an entry a bucket." });
const part = { totals, previous: totals.nullable(), series };

export const usage: Operation = {
  tag: "Usage",
  summary: "Read usage over time",
  description:
    "A range is widened to whole quarter hours, and its buckets are the time zone's. At most 400 buckets and 20 groups; what is beyond them is `other`. `as_of` says up to where the numbers are complete.",
  query: usageQuery,
  answer: z
    .strictObject({
      object: z.literal("usage"),
      from: instant,
      to: instant,
      snapped: z.boolean(),
      bucket: z.enum(BUCKETS),
      time_zone: z.string(),
      group_by: z.enum(["model", "region", "backend", "key"]).nullable(),
      as_of: z.strictObject({
        settled_through: instant,
        journal_sequence: z.int(),
        projected_sequence: z.int(),
        pending_events: z.int(),
      }),
      open: z.strictObject({ requests: z.int(), held: usdText, held_nanodollars: wholeText }),
      pending_count: z.int(),
      running_bucket: z.boolean(),
      buckets: z.array(instant),
      totals,
      series,
      previous: z
        .strictObject({ from: instant, to: instant, totals, buckets: z.array(instant), series })
        .nullable(),
      groups: z.array(z.strictObject({ id: z.string(), ...part })),
      other: z.strictObject(part).nullable(),
      marks: z.array(z.strictObject({ at: instant, kind: z.string(), label: z.string() })),
    })
    .meta({ id: "Usage" }),
};

const rowShape = z
  .strictObject({
    sequence: z.int(),
    id: z.string().nullable(),
    request_id: z.string().nullable(),
    admitted_at: instant.nullable(),
    settled_at: instant,
    model: z.string().nullable(),
    region: z.string().nullable(),
    backend: z.string().nullable(),
    key: z.string().nullable(),
    ending: z.string().nullable(),
    outcome: z.enum(OUTCOMES),
    finish_reason: z.string().nullable(),
    attempts: z.int(),
    failed_over: z.boolean(),
    input_tokens: z.int().nullable(),
    cached_input_tokens: z.int().nullable(),
    output_tokens: z.int().nullable(),
    reasoning_tokens: z.int().nullable(),
    source: z.string().nullable(),
    cost: usdText.nullable(),
    cost_nanodollars: wholeText.nullable(),
    ttft_ms: z.number().nullable(),
    duration_ms: z.number().nullable(),
    output_tokens_per_second: z.number().nullable(),
  })
  .meta({ id: "RequestRow" });

export const requests: Operation = {
  tag: "Usage",
  summary: "List settled requests, newest first",
  query: listQuery,
  answer: z.strictObject({
    object: z.literal("list"),
    data: z.array(rowShape),
    next_before: z.int().nullable(),
    newest: z.int(),
    matched: z.int().nullable(),
  }),
};

export const histogram: Operation = {
  tag: "Usage",
  summary: "Count settled requests over time, by outcome",
  query: histogramQuery,
  answer: z.strictObject({
    object: z.literal("request_histogram"),
    from: instant,
    to: instant,
    buckets: z.array(instant),
    by_outcome: z.record(z.string(), z.array(z.int().nullable())),
  }),
};

export const request: Operation = {
  tag: "Usage",
  summary: "Look up one request: its spans, placements and cost by class",
  description: "By the id of the answer, `chatcmpl-`, or of the request, `req_`.",
  answer: z
    .strictObject({
      object: z.literal("request"),
      ...generationFields,
      journal_sequence: z.int().nullable(),
      prices: z
        .strictObject({
          id: z.string(),
          effective_at: instant,
          input: wholeText,
          cached_input: wholeText,
          output: wholeText,
        })
        .nullable(),
      cost_by_class: z
        .array(
          z.strictObject({
            class: z.enum(["input", "cached_input", "output"]),
            tokens: z.int(),
            rate_nanodollars_per_million: wholeText,
            cost: usdText,
            cost_nanodollars: wholeText,
          }),
        )
        .nullable(),
      spans: z.array(
        z.strictObject({
          name: z.string(),
          attempt: z.int().nullable(),
          start_ms: z.number(),
          end_ms: z.number(),
          outcome: z.string().nullable(),
        }),
      ),
      placements: z.array(
        z.strictObject({
          attempt: z.int(),
          candidates: z.array(
            z.strictObject({
              backend: z.string(),
              region: z.string(),
              terms: z.record(z.string(), z.number()),
              cost: z.number().nullable(),
              chosen: z.boolean(),
              excluded_because: z.string().nullable(),
            }),
          ),
        }),
      ),
    })
    .meta({ id: "RequestDetail" }),
};

export const journal: Operation = {
  tag: "Usage",
  summary: "List every change of the balance, newest first",
  query: journalQuery,
  answer: z.strictObject({
    object: z.literal("list"),
    data: z.array(
      z.strictObject({
        sequence: z.int(),
        at: instant,
        kind: z.string(),
        amount: usdText,
        amount_nanodollars: wholeText,
        balance: usdText,
        balance_nanodollars: wholeText,
        reference: z.string().nullable(),
        request_id: z.string().nullable(),
        model: z.string().nullable(),
        key: z.string().nullable(),
      }),
    ),
    next_before: z.int().nullable(),
  }),
};

const unknownOr = (field: z.ZodType) => field.nullable();

export const regions: Operation = {
  tag: "Usage",
  summary: "How each region stands, and what one's own requests met there in the last hour",
  description:
    "`backends` is null unless the operator lets the account see the whole fleet. A simulated region says so. `down` is what `events` and webhooks say, too.",
  query: z.strictObject({}),
  answer: z.strictObject({
    object: z.literal("list"),
    data: z.array(
      z.strictObject({
        id: z.string(),
        name: z.string(),
        zone: z.string(),
        jurisdiction: z.string().nullable(),
        simulated: z.boolean(),
        simulated_distance_ms: unknownOr(z.number()),
        distance_ms: unknownOr(z.number()),
        state: z.enum(["healthy", "degraded", "draining", "down", "unknown"]),
        own: z.strictObject({
          requests: count,
          failed: count,
          ttft_ms: z.strictObject({ p50: z.number(), p95: z.number() }).nullable(),
          cache_share: unknownOr(z.number()),
        }),
        models: z.array(z.string()),
        backends: z
          .array(
            z.strictObject({
              id: z.string(),
              name: z.string(),
              model: z.string(),
              kind: z.string(),
              chip: z.string(),
              plays: z.string().nullable(),
              state: z.string(),
              reason: z.string().nullable(),
              running: unknownOr(z.number()),
              waiting: unknownOr(z.number()),
              placed: unknownOr(z.number()),
              max_concurrent: unknownOr(z.number()),
              cache_use: unknownOr(z.number()),
              prefix_hit_share: unknownOr(z.number()),
              ttft_ms: unknownOr(z.number()),
              error_share: unknownOr(z.number()),
              since: instant.nullable(),
            }),
          )
          .nullable(),
      }),
    ),
    events: z.array(
      z.strictObject({
        at: instant,
        region: z.string(),
        backend: z.string().nullable(),
        kind: z.string(),
        message: z.string(),
      }),
    ),
  }),
};

const crossSite = { 403: "Another site's page asks (`cross_site_request`), or the key lacks `usage`." };

export const signInWithKey: Operation = {
  tag: "Dashboard",
  summary: "Sign in with a key",
  description: "Answers a cookie that stands for the key until that ends, twelve hours at most.",
  body: signIn,
  status: 204,
  errors: { 401: "No such key.", ...crossSite },
};
export const session: Operation = {
  tag: "Dashboard",
  summary: "Whose session it is",
  answer: z.strictObject({
    account: z.strictObject({ id: z.string(), name: z.string().nullable() }),
    key: z.strictObject({
      id: z.string(),
      name: z.string(),
      hint: z.string(),
      scopes: z.array(z.enum(SCOPES)),
    }),
    environment: z.string(),
    simulated: z.boolean(),
    fleet_view: z.enum(["own", "full"]),
    expires_at: instant,
  }),
  errors: { 400: "A key came beside the cookie (`conflicting_credentials`).", 401: "No session." },
};
export const signOut: Operation = {
  tag: "Dashboard",
  summary: "Sign out",
  status: 204,
  errors: crossSite,
};
