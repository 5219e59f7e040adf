/** Keys and budgets as every answer shows them. The schemas are what the OpenAPI document says of them. */
import { z } from "zod";
import { SCOPES } from "../auth/scopes.ts";
import { iso } from "../clock.ts";
import { formatUsd } from "../money.ts";
import type { KeyView } from "../objects/account.ts";
import type { BudgetState, BudgetStates } from "../objects/budgets.ts";
import { instant, usdText, wholeText } from "../openapi/fields.ts";

export const budgetShape = z
  .strictObject({
    limit: usdText,
    limit_nanodollars: wholeText,
    spent: usdText,
    spent_nanodollars: wholeText,
    held: usdText,
    held_nanodollars: wholeText,
    resets_at: instant,
  })
  .meta({
    id: "Budget",
    description:
      "Spent is what is settled; held is what requests in flight may still cost. Their sum never passes the limit.",
  });

export const budgetsShape = z
  .strictObject({ day: budgetShape.nullable(), month: budgetShape.nullable() })
  .meta({ id: "Budgets", description: "By UTC day and month; null: no budget." });

const keyFields = {
  id: z.string().meta({ examples: ["key_01K0000000000000000000000A"] }),
  name: z.string(),
  hint: z.string().meta({ description: "The last four characters of the secret part." }),
  scopes: z.array(z.enum(SCOPES)),
  created_at: instant,
  expires_at: instant.nullable(),
  revoked_at: instant.nullable(),
  last_used_at: instant.nullable(),
  state: z.enum(["active", "expiring", "expired", "revoked"]),
  successor: z.string().nullable().meta({ description: "The key that a rotation made to follow this one." }),
  requests_per_minute: z.int().nullable(),
  tokens_per_minute: z.int().nullable(),
  residency: z.array(z.string()).nullable(),
  budgets: budgetsShape,
};

export const keyShape = z.strictObject(keyFields).meta({ id: "Key" });

export const madeKeyShape = z
  .strictObject({
    ...keyFields,
    key: z.string().meta({ description: "The key itself: here and never again." }),
  })
  .meta({ id: "MadeKey" });

export const keyListShape = z.strictObject({ object: z.literal("list"), data: z.array(keyShape) });

export const keyView = (key: KeyView): z.output<typeof keyShape> => ({
  id: key.id,
  name: key.name,
  hint: key.hint,
  scopes: [...key.scopes],
  created_at: iso(key.createdAt),
  expires_at: iso(key.expiresAt),
  revoked_at: iso(key.revokedAt),
  last_used_at: iso(key.lastUsedAt),
  state: key.state,
  successor: key.successor,
  requests_per_minute: key.requestsPerMinute,
  tokens_per_minute: key.tokensPerMinute,
  residency: key.residency && [...key.residency],
  budgets: budgetsView(key.budgets),
});

export const budgetsView = ({ day, month }: BudgetStates): z.output<typeof budgetsShape> => ({
  day: day && budgetView(day),
  month: month && budgetView(month),
});

const budgetView = ({ limit, spent, held, resetsAt }: BudgetState): z.output<typeof budgetShape> => ({
  limit: formatUsd(limit),
  limit_nanodollars: String(limit),
  spent: formatUsd(spent),
  spent_nanodollars: String(spent),
  held: formatUsd(held),
  held_nanodollars: String(held),
  resets_at: iso(resetsAt),
});
