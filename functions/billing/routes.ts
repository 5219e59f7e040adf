/** `/v1/billing`: a top-up is paid on Stripe's own page; the money comes with its webhook (stripe-webhook.ts). */
import { type Context, Hono } from "hono";
import { body } from "../admin/input.ts";
import type { AppEnv } from "../app.ts";
import { identified } from "../auth/bearer.ts";
import { requires } from "../auth/scopes.ts";
import { notAvailable, notConfigured, Refusal } from "../errors.ts";
import { describes } from "../openapi/operation.ts";
import { getBilling, startCheckout } from "../openapi/webhooks.ts";
import { checkoutBody } from "./checkout.ts";
import { stripeAccess, takesPayments } from "./stripe.ts";

export const billingRoutes = new Hono<AppEnv>();

billingRoutes.get("/", describes(getBilling), identified, requires("manage"), (c) =>
  c.json({ checkout: takesPayments(c.env) }),
);
billingRoutes.post("/checkout", describes(startCheckout), identified, requires("manage"), checkout);

async function checkout(c: Context<AppEnv>): Promise<Response> {
  const { amount } = await body(c, checkoutBody);
  const stripe = await stripeAccess(c.env);
  if (!stripe)
    throw new Refusal(notConfigured("No payments are configured here. Ask the operator for credit."));
  const account = c.get("account");
  const page = c.env.DASHBOARD_URL || `${new URL(c.req.url).origin}/dashboard`;
  try {
    const { id, url } = await stripe.client.checkout.sessions.create({
      mode: "payment",
      client_reference_id: account,
      line_items: [
        {
          quantity: 1,
          price_data: { currency: "usd", unit_amount: amount, product_data: { name: "Causeway balance" } },
        },
      ],
      success_url: `${page}?checkout=done`,
      cancel_url: `${page}?checkout=cancelled`,
    });
    return c.json({ url, id });
  } catch (error) {
    if (!(error instanceof stripe.library.errors.StripeError)) throw error;
    // Its message may quote the key that it was asked with.
    console.error(`checkout of ${account}: Stripe answered ${error.type} ${error.statusCode ?? ""}`);
    throw new Refusal(notAvailable("The payment provider does not answer as it should. Try again soon."));
  }
}
