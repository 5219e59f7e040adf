/**
 * The admin API: what an operator edits while the platform runs, and what makes accounts, keys and money. It has
 * its own credential (ADMIN_KEY). Errors are in OpenAI's shape, lists as `{object: "list", data}`.
 */
import { Hono } from "hono";
import type { AppEnv } from "../app.ts";
import { isAdmin } from "../auth/bearer.ts";
import * as d from "../openapi/admin.ts";
import { describes } from "../openapi/operation.ts";
import {
  addCredit,
  changeAccount,
  createAccount,
  getAccount,
  listAccounts,
  listJournal,
} from "./accounts.ts";
import { audit } from "./audit.ts";
import { deleteBackend, listBackends, listRegions, putBackend, putRegion } from "./backends.ts";
import { changeKey, createKey, getKey, listKeys, revokeKey, rotateKey } from "./keys.ts";
import { listModels, putModel } from "./models.ts";
import { listPools } from "./pools.ts";
import { addPrice, listPrices } from "./prices.ts";
import { listStripeEvents } from "./stripe.ts";

export const adminRoutes = new Hono<AppEnv>();

adminRoutes.use(isAdmin);

adminRoutes.get("/regions", describes(d.listRegions), listRegions);
adminRoutes.put("/regions/:id", describes(d.putRegion), putRegion);
adminRoutes.get("/models", describes(d.listModels), listModels);
adminRoutes.put("/models/:id{.+}", describes(d.putModel), putModel);
adminRoutes.get("/prices", describes(d.listPrices), listPrices);
adminRoutes.post("/prices", describes(d.addPrice), addPrice);
adminRoutes.get("/backends", describes(d.listBackends), listBackends);
adminRoutes.put("/backends/:id", describes(d.putBackend), putBackend);
adminRoutes.delete("/backends/:id", describes(d.deleteBackend), deleteBackend);
adminRoutes.get("/pools", describes(d.listPools), listPools);
adminRoutes.get("/accounts", describes(d.listAccounts), listAccounts);
adminRoutes.post("/accounts", describes(d.createAccount), createAccount);
adminRoutes.get("/accounts/:id", describes(d.getAccount), getAccount);
adminRoutes.patch("/accounts/:id", describes(d.changeAccount), changeAccount);
adminRoutes.post("/accounts/:id/credits", describes(d.addCredit), addCredit);
adminRoutes.get("/accounts/:id/journal", describes(d.listJournal), listJournal);
adminRoutes.get("/accounts/:id/keys", describes(d.listKeys), listKeys);
adminRoutes.post("/accounts/:id/keys", describes(d.createKey), createKey);
adminRoutes.get("/accounts/:id/keys/:key", describes(d.getKey), getKey);
adminRoutes.patch("/accounts/:id/keys/:key", describes(d.changeKey), changeKey);
adminRoutes.post("/accounts/:id/keys/:key/rotate", describes(d.rotateKey), rotateKey);
adminRoutes.delete("/accounts/:id/keys/:key", describes(d.revokeKey), revokeKey);
adminRoutes.get("/stripe/events", describes(d.listStripeEvents), listStripeEvents);
adminRoutes.get("/audit", describes(d.audit), audit);
