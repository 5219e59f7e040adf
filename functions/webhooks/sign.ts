/** A webhook as Standard Webhooks has it (specification 1.0): its body, and the headers of one attempt. */
import { Webhook } from "standardwebhooks";
import { iso } from "../clock.ts";
import type { EventId } from "../ids.ts";
import type { EventData, EventType } from "./events.ts";

export interface WebhookEvent {
  readonly id: EventId;
  readonly type: EventType;
  readonly at: number;
  readonly data: EventData;
}

/** The same at every attempt and every endpoint. */
export const bodyOf = ({ type, at, data }: WebhookEvent): string =>
  JSON.stringify({ type, timestamp: iso(at), data });

/** The id stays, time and signature are the attempt's own. Two secrets, while one replaces the other: two signatures. */
export function headersOf(
  id: EventId,
  body: string,
  secrets: readonly string[],
  now: number,
): Record<string, string> {
  const at = new Date(now);
  return {
    "content-type": "application/json",
    "user-agent": "Causeway-Webhooks/1",
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(now / 1000)),
    "webhook-signature": secrets.map((secret) => new Webhook(secret).sign(id, at, body)).join(" "),
  };
}
