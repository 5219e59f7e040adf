/** Webhook endpoints and their deliveries as the API shows them. */
import type { EVENT_TYPES } from "../../../webhooks/events.ts";

export type EventType = (typeof EVENT_TYPES)[number];

export interface Endpoint {
  readonly id: string;
  readonly url: string;
  readonly description: string;
  readonly events: readonly EventType[];
  readonly state: "enabled" | "disabled";
  readonly disabled_because: string | null;
  readonly created_at: string;
  readonly secrets: readonly { readonly hint: string; readonly expires_at: string | null }[];
}

export interface MadeEndpoint extends Endpoint {
  /** Once. */
  readonly secret: string;
}

export interface Delivery {
  readonly id: string;
  readonly event: { readonly id: string; readonly type: string; readonly created_at: string };
  readonly state: "pending" | "delivered" | "failed";
  readonly attempts: readonly {
    readonly at: string;
    readonly status: number | null;
    readonly duration_ms: number;
    readonly error: string | null;
  }[];
  readonly next_attempt_at: string | null;
}

/** A type that is missing here is an error of the compiler's. */
export const EVENTS: Readonly<Record<EventType, string>> = {
  "balance.low": "the balance fell below its alert",
  "balance.low.recovered": "it is above again",
  "balance.credited": "credit came",
  "usage.threshold": "spending passed an alert",
  "usage.threshold.recovered": "its period is over",
  "budget.exceeded": "a budget refused a request",
  "key.revoked": "a key was revoked",
  "region.down": "a region has no backend that serves",
  "region.recovered": "it serves again",
};
