/** What the document says of webhooks, alerts and top-ups. Bodies and queries are the schemas that parse them. */
import { z } from "zod";
import { checkoutBody } from "../billing/checkout.ts";
import { EVENT_TYPES } from "../webhooks/events.ts";
import { deliveryPage, endpointBody, endpointChange, rotation, thresholds } from "../webhooks/fields.ts";
import { instant, listOf, usdText, wholeText } from "./fields.ts";
import type { Operation } from "./operation.ts";

const endpointFields = {
  id: z.string(),
  url: z.string(),
  description: z.string(),
  events: z.array(z.enum(EVENT_TYPES)),
  state: z.enum(["enabled", "disabled"]),
  disabled_because: z.string().nullable(),
  created_at: instant,
  secrets: z.array(z.strictObject({ hint: z.string(), expires_at: instant.nullable() })).meta({
    description: "Newest first; two while one replaces the other. The hint is the last four characters.",
  }),
};
const endpointShape = z.strictObject(endpointFields).meta({ id: "WebhookEndpoint" });
const madeShape = z
  .strictObject({
    ...endpointFields,
    secret: z.string().meta({ description: "In this answer and in no other." }),
  })
  .meta({ id: "MadeWebhookEndpoint" });

const deliveryShape = z
  .strictObject({
    id: z.string(),
    event: z.strictObject({ id: z.string(), type: z.string(), created_at: instant }),
    state: z.enum(["pending", "delivered", "failed"]),
    attempts: z.array(
      z.strictObject({
        at: instant,
        status: z.int().nullable().meta({ description: "null: there was no answer." }),
        duration_ms: z.int(),
        error: z.string().nullable(),
      }),
    ),
    next_attempt_at: instant.nullable(),
  })
  .meta({ id: "WebhookDelivery" });

const alertsShape = z
  .strictObject({
    balance_low: usdText.nullable(),
    balance_low_nanodollars: wholeText.nullable(),
    usage: z.array(
      z.strictObject({ period: z.enum(["day", "month"]), amount: usdText, amount_nanodollars: wholeText }),
    ),
  })
  .meta({ id: "Alerts" });

const ONCE = {
  409: "The same `Idempotency-Key` is running (`idempotent_request_in_flight`) or has run (`idempotent_request_ended`).",
  422: "The same `Idempotency-Key` came with another body (`idempotency_key_reused`).",
};

const webhooks = (summary: string, more: Omit<Operation, "tag" | "summary">): Operation => ({
  tag: "Webhooks",
  summary,
  ...more,
});

export const listEndpoints = webhooks("List the endpoints", { answer: listOf(endpointShape) });
export const createEndpoint = webhooks("Make an endpoint", {
  description:
    "Events are sent as [Standard Webhooks](https://www.standardwebhooks.com) has it, until they are heard or four days have passed. https only, and no private address in any notation. At most ten an account.",
  idempotent: true,
  errors: ONCE,
  body: endpointBody,
  answer: madeShape,
  status: 201,
  examples: { body: { url: "https://hooks.example.com/causeway", events: ["balance.low", "key.revoked"] } },
});
export const getEndpoint = webhooks("Read an endpoint", { answer: endpointShape });
export const changeEndpoint = webhooks("Change an endpoint", {
  description:
    "What is not named stays. One that was disabled, because it answered 410 or failed for three days, is taken back with `state`.",
  body: endpointChange,
  answer: endpointShape,
  examples: { body: { state: "enabled" } },
});
export const deleteEndpoint = webhooks("Delete an endpoint", {
  answer: z.strictObject({ id: z.string(), deleted: z.literal(true) }),
});
export const rotateSecret = webhooks("Rotate an endpoint's secret", {
  description: "Both secrets sign until `overlap_seconds` have passed.",
  body: rotation,
  answer: madeShape,
  examples: { body: { overlap_seconds: 86_400 } },
});
export const testEndpoint = webhooks("Send a test event", { answer: deliveryShape, status: 202 });
export const listDeliveries = webhooks("List an endpoint's deliveries", {
  description: "Newest first, with each attempt.",
  query: deliveryPage,
  answer: z.strictObject({
    object: z.literal("list"),
    data: z.array(deliveryShape),
    next_before: z.string().nullable(),
  }),
});
export const replayDelivery = webhooks("Deliver again", {
  description: "The same event under the same id, from the first of its tries.",
  answer: deliveryShape,
  status: 202,
});

export const getAlerts = webhooks("Read the thresholds", { answer: alertsShape });
export const putAlerts = webhooks("Set the thresholds of balance.low and usage.threshold", {
  description:
    "All are set. A threshold is told once when it is crossed and once when that is over; one that is new or changed is told at once where it is passed already.",
  body: thresholds,
  answer: alertsShape,
  examples: { body: { balance_low: "5.00", usage: [{ period: "month", amount: "100.00" }] } },
});

export const getBilling: Operation = {
  tag: "Billing",
  summary: "Whether payments are taken here",
  answer: z.strictObject({ checkout: z.boolean() }),
};
export const startCheckout: Operation = {
  tag: "Billing",
  summary: "Begin a top-up",
  description:
    "The page of the payment provider; the money comes when it says that it was paid. The same `Idempotency-Key` gets the same page.",
  idempotent: true,
  body: checkoutBody,
  answer: z.strictObject({ url: z.string().nullable(), id: z.string() }),
  errors: { ...ONCE, 503: "No payments are configured (`not_configured`), or the provider does not answer." },
  examples: { body: { amount: "20.00" } },
};
export const stripeTells: Operation = {
  tag: "Billing",
  summary: "What Stripe tells",
  description: "For Stripe alone: signed over the raw body.",
  answer: z.strictObject({
    received: z.literal(true),
    outcome: z.string().optional(),
    ignored: z.string().optional(),
  }),
  errors: {
    400: "The signature is not Stripe's, or too old (`invalid_signature`).",
    413: "The body is too large.",
    422: "It was paid and nothing was credited; kept for the operator.",
    503: "No payments are configured (`not_configured`).",
  },
};
