/**
 * The admin API: what an operator edits while the platform runs, and what makes accounts, keys and money. It has
 * its own credential (ADMIN_KEY). Errors are in OpenAI's shape, lists as `{object: "list", data}`.
 */
import { Hono } from "hono";
import type { AppEnv } from "../app.ts";
import { isAdmin } from "../auth/bearer.ts";
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

export const adminRoutes = new Hono<AppEnv>();

adminRoutes.use(isAdmin);

adminRoutes.get("/regions", listRegions);
adminRoutes.put("/regions/:id", putRegion);
adminRoutes.get("/models", listModels);
adminRoutes.put("/models/:id{.+}", putModel);
adminRoutes.get("/prices", listPrices);
adminRoutes.post("/prices", addPrice);
adminRoutes.get("/backends", listBackends);
adminRoutes.put("/backends/:id", putBackend);
adminRoutes.delete("/backends/:id", deleteBackend);
adminRoutes.get("/pools", listPools);
adminRoutes.get("/accounts", listAccounts);
adminRoutes.post("/accounts", createAccount);
adminRoutes.get("/accounts/:id", getAccount);
adminRoutes.patch("/accounts/:id", changeAccount);
adminRoutes.post("/accounts/:id/credits", addCredit);
adminRoutes.get("/accounts/:id/journal", listJournal);
adminRoutes.get("/accounts/:id/keys", listKeys);
adminRoutes.post("/accounts/:id/keys", createKey);
adminRoutes.get("/accounts/:id/keys/:key", getKey);
adminRoutes.patch("/accounts/:id/keys/:key", changeKey);
adminRoutes.post("/accounts/:id/keys/:key/rotate", rotateKey);
adminRoutes.delete("/accounts/:id/keys/:key", revokeKey);
adminRoutes.get("/audit", audit);
