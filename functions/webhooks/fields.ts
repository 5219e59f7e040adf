/** What the routes of webhooks and alerts take: the schemas that parse it, and that the OpenAPI document shows. */
import { z } from "zod";
import { name, usd } from "../admin/input.ts";
import { DAY_MS, SECOND_MS } from "../clock.ts";
import { EVENT_TYPES } from "./events.ts";

const MAX_OVERLAP_SECONDS = (7 * DAY_MS) / SECOND_MS;

const events = z
  .array(z.enum(EVENT_TYPES, { error: `must be of ${EVENT_TYPES.join(", ")}` }))
  .min(1)
  .max(EVENT_TYPES.length)
  .transform((types) => [...new Set(types)]);
const fields = {
  url: z.string().min(1).max(2_000),
  description: name.or(z.literal("")),
  events,
};
export const endpointBody = z.strictObject({ ...fields, description: fields.description.default("") });
export const endpointChange = z
  .strictObject({
    url: fields.url.optional(),
    description: fields.description.optional(),
    events: fields.events.optional(),
    state: z.enum(["enabled", "disabled"]).optional(),
  })
  .refine((change) => Object.keys(change).length > 0, { error: "Send url, description, events or state." });
export const rotation = z.strictObject({
  overlap_seconds: z
    .int()
    .min(0)
    .max(MAX_OVERLAP_SECONDS)
    .default(DAY_MS / SECOND_MS),
});

export const deliveryPage = z.strictObject({
  before: z.string().max(100).optional(),
  limit: z.coerce.number().int().min(1).max(100).default(20),
});

const MAX_USAGE = 10;

const amount = usd.refine((value) => value > 0, { error: "must be above 0" });
export const thresholds = z.strictObject({
  balance_low: amount.nullable(),
  usage: z
    .array(z.strictObject({ period: z.enum(["day", "month"]), amount }))
    .max(MAX_USAGE)
    .refine((all) => new Set(all.map(({ period, amount }) => `${period} ${amount}`)).size === all.length, {
      error: "names a threshold twice",
    }),
});
