/** `/v1/billing`: a top-up is paid on Stripe's own page; the money comes with its webhook (stripe-webhook.ts). */
import { type Context, Hono } from "hono";
import type Stripe from "stripe";
import { body } from "../admin/input.ts";
import { onceOf } from "../admission/idempotency.ts";
import type { AppEnv } from "../app.ts";
import { accountObject } from "../auth/accounts.ts";
import { identified } from "../auth/bearer.ts";
import { requires } from "../auth/scopes.ts";
import { notAvailable, notConfigured, Refusal } from "../errors.ts";
import { newCheckoutId } from "../ids.ts";
import { stillMaking } from "../objects/idempotency.ts";
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
  const given = await body(c, checkoutBody);
  const stripe = await stripeAccess(c.env);
  if (!stripe)
    throw new Refusal(notConfigured("No payments are configured here. Ask the operator for credit."));
  const account = c.get("account");
  const object = accountObject(c.env, account);
  const once = await onceOf(c, given);
  const claim = once && (await object.claim(once, newCheckoutId()));
  if (claim && "status" in claim) throw new Refusal(claim);
  const page = c.env.DASHBOARD_URL || `${new URL(c.req.url).origin}/dashboard`;
  try {
    const session: Stripe.Checkout.SessionCreateParams = {
      mode: "payment",
      client_reference_id: account,
      line_items: [
        {
          quantity: 1,
          price_data: {
            currency: "usd",
            unit_amount: given.amount,
            product_data: { name: "Causeway balance" },
          },
        },
      ],
      success_url: `${page}/billing?checkout=done`,
      cancel_url: `${page}/billing?checkout=cancelled`,
    };
    // Stripe does once what comes under one key, and answers who comes again with the same page.
    const named = claim ? { idempotencyKey: claim.made } : {};
    const { id, url } = await stripe.client.checkout.sessions.create(session, named);
    return c.json({ url, id });
  } catch (error) {
    if (!(error instanceof stripe.library.errors.StripeError)) throw error;
    if (claim && error.statusCode === 409) throw new Refusal(stillMaking());
    // Without an answer it may have been made: then the same key gets it.
    if (once && claim && error.statusCode !== undefined) await object.dropClaim(once, claim);
    // Its message may quote the key that it was asked with.
    console.error(`checkout of ${account}: Stripe answered ${error.type} ${error.statusCode ?? ""}`);
    throw new Refusal(notAvailable("The payment provider does not answer as it should. Try again soon."));
  }
}
