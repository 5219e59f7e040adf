/** The Hono app: which path leads where, and what every answer carries. */
import { Hono } from "hono";
import { adminRoutes } from "./admin/routes.ts";
import { dashboard, toDashboard } from "./assets.ts";
import { identified, notBySession, presentsKey } from "./auth/bearer.ts";
import type { PresentedKey } from "./auth/key.ts";
import { admittedWith, requires, type Scope } from "./auth/scopes.ts";
import type { Session } from "./auth/session.ts";
import { sessionRoutes } from "./auth/session-routes.ts";
import { billingRoutes } from "./billing/routes.ts";
import { stripeWebhook } from "./billing/stripe-webhook.ts";
import { completion } from "./completion.ts";
import type { Env } from "./env.ts";
import { framesOf, internal, notFound, Refusal } from "./errors.ts";
import { type AccountId, type KeyId, newRequestId, type RequestId } from "./ids.ts";
import {
  changeKey,
  createKey,
  getBudgets,
  getKey,
  listKeys,
  putBudgets,
  revokeKey,
  rotateKey,
} from "./keys/routes.ts";
import { describes } from "./openapi/operation.ts";
import { openapi, reference } from "./openapi/routes.ts";
import * as service from "./openapi/service.ts";
import * as read from "./openapi/usage.ts";
import * as v1 from "./openapi/v1.ts";
import { stripeTells } from "./openapi/webhooks.ts";
import { errorResponse } from "./surfaces/openai/errors.ts";
import { listModels, oneModel } from "./surfaces/openai/models.ts";
import { oneRequest } from "./usage/detail.ts";
import { listJournal } from "./usage/journal.ts";
import { balance, generation } from "./usage/read.ts";
import { listRegions } from "./usage/regions.ts";
import { requestHistogram } from "./usage/request-histogram.ts";
import { listRequests } from "./usage/requests.ts";
import { usage } from "./usage/usage.ts";
import { alertRoutes } from "./webhooks/alerts.ts";
import { webhookRoutes } from "./webhooks/routes.ts";

export interface AppEnv {
  Bindings: Env;
  Variables: {
    requestId: RequestId;
    presented: PresentedKey;
    /** Where the dashboard's cookie stood for the key. */
    session: Session | undefined;
    account: AccountId;
    key: KeyId;
    scopes: readonly Scope[];
  };
}

export const app = new Hono<AppEnv>();

app.use(async (c, next) => {
  c.set("requestId", newRequestId());
  await next();
  c.header("x-request-id", c.get("requestId"));
  c.header("request-id", c.get("requestId"));
});

app.get("/health", describes(service.health), (c) => c.json({ status: "ok" }));
app.get("/openapi.json", describes(service.document), openapi);
app.get("/docs", describes(service.page), reference);

// What an account reads is its own: no cache on the way keeps it.
app.use("/v1/*", async (c, next) => {
  await next();
  if (!c.res.headers.has("cache-control")) c.header("cache-control", "no-store");
});
app.use("/v1/*", presentsKey);
app.post(
  "/v1/chat/completions",
  describes(v1.completions),
  notBySession,
  admittedWith("inference"),
  completion,
);
app.get("/v1/models", describes(v1.models), identified, requires("inference"), listModels);
app.get("/v1/models/:id{.+}", describes(v1.model), identified, requires("inference"), oneModel);
app.get("/v1/generation", describes(v1.generation), identified, requires("inference"), generation);
app.get("/v1/usage", describes(read.usage), identified, requires("usage"), usage);
app.get("/v1/requests", describes(read.requests), identified, requires("usage"), listRequests);
app.get("/v1/requests/histogram", describes(read.histogram), identified, requires("usage"), requestHistogram);
app.get("/v1/requests/:id", describes(read.request), identified, requires("usage"), oneRequest);
app.get("/v1/regions", describes(read.regions), identified, requires("usage"), listRegions);
app.get("/v1/journal", describes(read.journal), identified, requires("usage"), listJournal);
app.get("/v1/balance", describes(v1.balance), identified, requires("usage"), balance);
app.get("/v1/keys", describes(v1.listKeys), identified, requires("manage"), listKeys);
app.post("/v1/keys", describes(v1.createKey), identified, requires("manage"), createKey);
app.get("/v1/keys/:id", describes(v1.getKey), identified, requires("manage"), getKey);
app.patch("/v1/keys/:id", describes(v1.changeKey), identified, requires("manage"), changeKey);
app.post("/v1/keys/:id/rotate", describes(v1.rotateKey), identified, requires("manage"), rotateKey);
app.delete("/v1/keys/:id", describes(v1.revokeKey), identified, requires("manage"), revokeKey);
app.get("/v1/budgets", describes(v1.getBudgets), identified, requires("manage"), getBudgets);
app.put("/v1/budgets", describes(v1.putBudgets), identified, requires("manage"), putBudgets);

app.route("/dashboard/session", sessionRoutes);
app.all("/", toDashboard);
app.all("/dashboard/*", dashboard);
app.route("/v1/webhooks", webhookRoutes);
app.route("/v1/alerts", alertRoutes);
app.route("/v1/billing", billingRoutes);
app.post("/webhooks/stripe", describes(stripeTells), stripeWebhook);

app.route("/admin", adminRoutes);

app.notFound((c) =>
  errorResponse(notFound(`Nothing answers ${c.req.method} ${c.req.path}.`, "unknown_route")),
);

app.onError((error, c) => {
  if (error instanceof Refusal) return errorResponse(error.error);
  // The message of an unexpected error may quote what was sent: the stack's frames alone are logged.
  console.error(`${c.get("requestId")}: ${error.name}: ${framesOf(error)}`);
  return errorResponse(internal());
});
