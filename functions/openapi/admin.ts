/** What the document says of the operator's API. */
import { z } from "zod";
import { accountBody, accountChange, creditBody, journalPage, page } from "../admin/accounts.ts";
import { auditQuery } from "../admin/audit.ts";
import { backendBody, regionBody } from "../admin/backends.ts";
import { modelBody } from "../admin/models.ts";
import { priceBody, priceQuery } from "../admin/prices.ts";
import { stripePage } from "../admin/stripe.ts";
import { keyChangeBody, newKeyBody, rotateBody } from "../keys/fields.ts";
import { budgetsShape, keyListShape, keyShape, madeKeyShape } from "../keys/view.ts";
import { instant, listOf, usdText } from "./fields.ts";
import type { Operation } from "./operation.ts";
import { moneyFields } from "./v1.ts";

const operator = (summary: string, more: Omit<Operation, "tag" | "summary">): Operation => ({
  tag: "Operator",
  summary,
  ...more,
});

const regionShape = z
  .strictObject({
    id: z.string(),
    name: z.string(),
    zone: z.string(),
    simulated_distance_ms: z.int().nullable(),
    jurisdiction: z.string().nullable(),
  })
  .meta({ id: "Region" });

export const listRegions = operator("List regions", { answer: listOf(regionShape) });
export const putRegion = operator("Make or change a region", { body: regionBody, answer: regionShape });

const soldShape = z
  .strictObject({
    id: z.string(),
    name: z.string(),
    description: z.string(),
    owned_by: z.string(),
    context_length: z.int(),
    default_max_output_tokens: z.int(),
    created_at: instant,
  })
  .meta({ id: "OperatorModel" });

export const listModels = operator("List models", { answer: listOf(soldShape) });
export const putModel = operator("Make or change a model", {
  description: "One without a price is not sold.",
  body: modelBody,
  answer: soldShape,
});

const priceShape = z
  .strictObject({
    id: z.string(),
    model: z.string(),
    input: usdText,
    cached_input: usdText,
    output: usdText,
    effective_at: instant,
    created_at: instant,
  })
  .meta({ id: "Price", description: "USD a million tokens. Versions are added, never changed." });

export const listPrices = operator("List price versions", {
  query: priceQuery,
  answer: listOf(priceShape),
});
export const addPrice = operator("Add a price version", {
  body: priceBody,
  answer: priceShape,
  status: 201,
  examples: { body: { model: "causeway-probe", input: "0.28", cached_input: "0.028", output: "0.42" } },
});

const backendShape = z
  .strictObject({
    id: z.string(),
    name: z.string(),
    region: z.string(),
    model: z.string(),
    served_as: z.string(),
    kind: z.string(),
    chip: z.string(),
    plays: z.string().nullable(),
    url: z.string(),
    secret_name: z.string(),
    state: z.enum(["active", "draining"]),
    cost: z.strictObject({ input: usdText, cached_input: usdText, output: usdText }).nullable(),
    context_length: z.int().nullable(),
    tools: z.boolean().nullable(),
    max_concurrent: z.int().nullable(),
    max_waiting: z.int().nullable(),
    prefill_tokens_per_second: z.number().nullable(),
    decode_tokens_per_second: z.number().nullable(),
    created_at: instant,
  })
  .meta({ id: "Backend" });

export const listBackends = operator("List backends", { answer: listOf(backendShape) });
export const putBackend = operator("Register or change a backend", {
  body: backendBody,
  answer: backendShape,
});
export const deleteBackend = operator("Remove a backend", {
  description: "What it serves goes on to its end.",
  answer: z.strictObject({ id: z.string(), deleted: z.literal(true) }),
});

export const listPools = operator("See what pools count and have learnt", {
  answer: listOf(
    z.strictObject({
      region: z.string(),
      model: z.string(),
      reachable: z.boolean(),
      backends: z.array(
        z.strictObject({
          id: z.string(),
          state: z.string(),
          standing: z.string(),
          reason: z.string().nullable(),
          since: instant.nullable(),
          placed: z.int(),
          running: z.number().nullable(),
          waiting: z.number().nullable(),
          cache_usage: z.number().nullable(),
          prefix_hit_share: z.number().nullable(),
          prefill_tokens_per_second: z.number().nullable(),
          decode_tokens_per_second: z.number().nullable(),
          failures: z.int(),
          resting_until: instant.nullable(),
          ejected_until: instant.nullable(),
          draining_until: instant.nullable(),
          ttft_ms: z.number().nullable(),
        }),
      ),
    }),
  ),
});

const listedFields = {
  id: z.string(),
  name: z.string(),
  jurisdiction: z.string().nullable(),
  created_at: instant,
  fleet_view: z.enum(["own", "full"]),
};
const settingsFields = { residency: z.array(z.string()).nullable(), budgets: budgetsShape };
const accountShape = z.strictObject({ ...listedFields, ...settingsFields }).meta({ id: "Account" });

export const listAccounts = operator("List accounts", {
  query: page,
  answer: z.strictObject({
    object: z.literal("list"),
    data: z.array(z.strictObject(listedFields)),
    has_more: z.boolean(),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
  }),
});
export const createAccount = operator("Make an account", {
  body: accountBody,
  answer: accountShape,
  status: 201,
  examples: { body: { name: "Acme", budgets: { month: "500.00" } } },
});
export const getAccount = operator("Look up an account and its money", {
  answer: z.strictObject({ ...listedFields, ...settingsFields, ...moneyFields }),
});
export const changeAccount = operator("Change an account", { body: accountChange, answer: accountShape });
export const addCredit = operator("Credit an account", {
  description: "The same reference credits once; with another amount it is refused.",
  body: creditBody,
  answer: z.strictObject({
    account: z.string(),
    credited: z.boolean().meta({ description: "False: this reference was credited before." }),
    amount: usdText,
    reference: z.string(),
    ...moneyFields,
  }),
  examples: { body: { amount: "20.00", reference: "invoice-17" } },
});
export const listJournal = operator("Read an account's journal", {
  description: "Oldest first: each charge, adjustment and credit with the balance after it.",
  query: journalPage,
  answer: z.strictObject({
    object: z.literal("list"),
    data: z.array(z.looseObject({ sequence: z.int(), kind: z.string(), amount: z.int(), balance: z.int() })),
    has_more: z.boolean(),
  }),
});

export const listKeys = operator("List an account's keys", { answer: keyListShape });
export const createKey = operator("Make a key", {
  description: "With any scopes; inference and usage where none are named.",
  body: newKeyBody,
  answer: madeKeyShape,
  status: 201,
  examples: { body: { name: "admin", scopes: ["inference", "usage", "manage"] } },
});
export const getKey = operator("Look up a key", { answer: keyShape });
export const changeKey = operator("Change a key", { body: keyChangeBody, answer: keyShape });
export const rotateKey = operator("Rotate a key", {
  description: "As the account's own `POST /v1/keys/{id}/rotate`.",
  body: rotateBody,
  answer: madeKeyShape,
  status: 201,
  errors: { 409: "The key has ended, or its successor is in use." },
});
export const revokeKey = operator("Revoke a key", { answer: keyShape });

export const listStripeEvents = operator("See what Stripe told, and what could not be credited", {
  query: stripePage,
  answer: listOf(
    z.strictObject({
      id: z.string(),
      type: z.string(),
      at: instant,
      outcome: z
        .string()
        .meta({ description: "`credited`, `repeated`, `unpaid`, or why nothing was credited." }),
      account: z.string().nullable(),
      session: z.string().nullable(),
      amount: usdText.nullable(),
      amount_nanodollars: z.string().nullable(),
    }),
  ),
});

export const audit = operator("Recompute all books and compare them", {
  query: auditQuery,
  answer: z.strictObject({
    clean: z.boolean(),
    accounts: z.array(z.looseObject({ account: z.string(), findings: z.array(z.string()) })),
    checked_at: instant,
  }),
});
