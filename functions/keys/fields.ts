/** The fields of keys and budgets: what may be sent, in the account's own API and in the operator's. */
import { z } from "zod";
import { residency as jurisdictions, name, usd } from "../admin/input.ts";
import { SCOPES } from "../auth/scopes.ts";
import { DAY_MS, SECOND_MS } from "../clock.ts";
import type { Limits } from "../objects/budgets.ts";
import type { KeyChange } from "../objects/keyring.ts";

/** The year 2200: beyond it somebody sent another unit. */
const MAX_MS = Date.UTC(2200);
const MAX_OVERLAP_SECONDS = (7 * DAY_MS) / SECOND_MS;
const DEFAULT_OVERLAP_SECONDS = DAY_MS / SECOND_MS;

/** A limit a minute; null: none. */
const limit = z.int().min(1).max(1_000_000_000).nullable();

const scopes = z
  .array(z.enum(SCOPES))
  .min(1)
  .max(SCOPES.length)
  .refine((list) => new Set(list).size === list.length, { error: "must not name a scope twice" });

const expiresAt = z.iso
  .datetime({ offset: true, error: "must be ISO 8601 with a zone" })
  .transform((text) => Date.parse(text))
  .refine((ms) => ms <= MAX_MS, { error: "must be before the year 2200" });

/** Decimal USD, 0 or more; null: no budget. */
const budget = usd
  .refine((value) => value >= 0, { error: "must not be negative" })
  .nullable()
  .meta({ examples: ["5.00"] });

/** What is not named stays as it is; null takes a budget away. */
export const budgetsBody = z.strictObject({ day: budget.optional(), month: budget.optional() });

const settings = {
  scopes: scopes.optional().meta({ description: "Default: inference and usage." }),
  requests_per_minute: limit.optional(),
  tokens_per_minute: limit.optional(),
  residency: jurisdictions.nullish(),
  expires_at: expiresAt.nullish(),
  budgets: budgetsBody.optional(),
};

export const newKeyBody = z.strictObject({ name, ...settings });

export const keyChangeBody = z
  .strictObject({ name: name.optional(), ...settings })
  .refine((change) => Object.keys(change).length > 0, { error: "Send at least one field to change." });

export const rotateBody = z.strictObject({
  overlap_seconds: z
    .int()
    .min(0)
    .max(MAX_OVERLAP_SECONDS)
    .default(DEFAULT_OVERLAP_SECONDS)
    .meta({ description: "How long the rotated key goes on working." }),
});

/** As the account's object takes it. */
export function limitsOf(budgets: z.output<typeof budgetsBody> = {}): Partial<Limits> {
  return { ...named("budgetDay", budgets.day), ...named("budgetMonth", budgets.month) };
}

/** As the account's object takes it: null takes away, what is not named stays. */
export function changeOf(given: z.output<typeof keyChangeBody>): KeyChange {
  return {
    ...named("name", given.name),
    ...named("scopes", given.scopes),
    ...named("requestsPerMinute", given.requests_per_minute),
    ...named("tokensPerMinute", given.tokens_per_minute),
    ...named("residency", given.residency),
    ...named("expiresAt", given.expires_at),
    ...limitsOf(given.budgets),
  };
}

function named<K extends string, V>(key: K, value: V | undefined): { [name in K]?: V } {
  return (value === undefined ? {} : { [key]: value }) as { [name in K]?: V };
}
