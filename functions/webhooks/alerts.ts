/** `/v1/alerts`: the thresholds of `balance.low` and `usage.threshold`. The account's object keeps and watches them. */
import { type Context, Hono } from "hono";
import { body } from "../admin/input.ts";
import type { AppEnv } from "../app.ts";
import { accountObject } from "../auth/accounts.ts";
import { identified } from "../auth/bearer.ts";
import { requires } from "../auth/scopes.ts";
import { formatUsd } from "../money.ts";
import type { Thresholds } from "../objects/notices.ts";
import { describes } from "../openapi/operation.ts";
import { getAlerts, putAlerts } from "../openapi/webhooks.ts";
import { thresholds } from "./fields.ts";

export const alertRoutes = new Hono<AppEnv>();

alertRoutes.get("/", describes(getAlerts), identified, requires("manage"), async (c) =>
  c.json(view(await objectOf(c).thresholds())),
);

/** Replaces them. One that stays as it was remembers that it was told. */
alertRoutes.put("/", describes(putAlerts), identified, requires("manage"), async (c) => {
  const { balance_low, usage } = await body(c, thresholds);
  return c.json(view(await objectOf(c).setThresholds({ balanceLow: balance_low, usage })));
});

const objectOf = (c: Context<AppEnv>) => accountObject(c.env, c.get("account"));

const view = ({ balanceLow, usage }: Thresholds) => ({
  balance_low: balanceLow === null ? null : formatUsd(balanceLow),
  balance_low_nanodollars: balanceLow === null ? null : String(balanceLow),
  usage: usage.map(({ period, amount }) => ({
    period,
    amount: formatUsd(amount),
    amount_nanodollars: String(amount),
  })),
});
