/** The events that webhooks tell of: one list, for the schema, the API and the objects that cause them. */

/** What the account's own object causes, written beside the change itself (objects/notices.ts). */
export const NOTICE_TYPES = [
  "balance.low",
  "balance.low.recovered",
  "balance.credited",
  "usage.threshold",
  "usage.threshold.recovered",
  "budget.exceeded",
  "key.revoked",
] as const;
export type NoticeType = (typeof NOTICE_TYPES)[number];

/** What befalls a region, told to every account that asked for it. */
export const REGION_TYPES = ["region.down", "region.recovered"] as const;
export type RegionEventType = (typeof REGION_TYPES)[number];

/** What an endpoint may ask for. A `test` event goes to its endpoint whatever that asked for. */
export const EVENT_TYPES = [...NOTICE_TYPES, ...REGION_TYPES] as const;
export type EventType = NoticeType | RegionEventType | "test";

export type EventData = Readonly<Record<string, unknown>>;
