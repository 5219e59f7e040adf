/** The Hono app: which path leads where, and what every answer carries. */
import { Hono } from "hono";
import { adminRoutes } from "./admin/routes.ts";
import { identified, notBySession, presentsKey } from "./auth/bearer.ts";
import type { PresentedKey } from "./auth/key.ts";
import { requires, type Scope } from "./auth/scopes.ts";
import type { Session } from "./auth/session.ts";
import { sessionRoutes } from "./auth/session-routes.ts";
import { completion } from "./completion.ts";
import type { Env } from "./env.ts";
import { framesOf, internal, notFound, Refusal } from "./errors.ts";
import { type AccountId, type KeyId, newRequestId, type RequestId } from "./ids.ts";
import { errorResponse } from "./surfaces/openai/errors.ts";
import { listModels, oneModel } from "./surfaces/openai/models.ts";
import { oneRequest } from "./usage/detail.ts";
import { listJournal } from "./usage/journal.ts";
import { balance, generation } from "./usage/read.ts";
import { listRegions } from "./usage/regions.ts";
import { requestHistogram } from "./usage/request-histogram.ts";
import { listRequests } from "./usage/requests.ts";
import { usage } from "./usage/usage.ts";

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

app.get("/health", (c) => c.json({ status: "ok" }));

app.use("/v1/*", presentsKey);
app.post("/v1/chat/completions", notBySession, completion);
app.get("/v1/models", identified, requires("inference"), listModels);
app.get("/v1/models/:id{.+}", identified, requires("inference"), oneModel);
app.get("/v1/generation", identified, requires("inference"), generation);
app.get("/v1/usage", identified, requires("usage"), usage);
app.get("/v1/requests", identified, requires("usage"), listRequests);
app.get("/v1/requests/histogram", identified, requires("usage"), requestHistogram);
app.get("/v1/requests/:id", identified, requires("usage"), oneRequest);
app.get("/v1/regions", identified, requires("usage"), listRegions);
app.get("/v1/journal", identified, requires("usage"), listJournal);
app.get("/v1/balance", identified, requires("usage"), balance);

app.route("/dashboard/session", sessionRoutes);
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
