/** What a top-up may be: whole cents, since that is what Stripe takes. */
import { z } from "zod";
import { usd } from "../admin/input.ts";
import { parseUsd } from "../money.ts";
import { nanodollarsToCents } from "./stripe.ts";

const LEAST = parseUsd("1")!;
const MOST = parseUsd("10000")!;

export const checkoutBody = z.strictObject({
  amount: usd
    .refine((value) => LEAST <= value && value <= MOST, { error: "must be 1 to 10000 USD" })
    .transform((value, context) => {
      const cents = nanodollarsToCents(value);
      if (cents !== undefined) return cents;
      context.addIssue("must be whole cents");
      return z.NEVER;
    }),
});
