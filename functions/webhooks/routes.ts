/** `/v1/webhooks`: endpoints and their deliveries. */
import { Hono } from "hono";
import type { AppEnv } from "../app.ts";
import { identified } from "../auth/bearer.ts";
import { requires } from "../auth/scopes.ts";
import { describes } from "../openapi/operation.ts";
import * as w from "../openapi/webhooks.ts";
import { listDeliveries, replayDelivery, testEndpoint } from "./deliveries.ts";
import {
  changeEndpoint,
  createEndpoint,
  deleteEndpoint,
  getEndpoint,
  listEndpoints,
  rotateSecret,
} from "./endpoints.ts";

export const webhookRoutes = new Hono<AppEnv>();

const manage = [identified, requires("manage")] as const;

webhookRoutes.get("/", describes(w.listEndpoints), ...manage, listEndpoints);
webhookRoutes.post("/", describes(w.createEndpoint), ...manage, createEndpoint);
webhookRoutes.post("/deliveries/:id/replay", describes(w.replayDelivery), ...manage, replayDelivery);
webhookRoutes.get("/:id", describes(w.getEndpoint), ...manage, getEndpoint);
webhookRoutes.patch("/:id", describes(w.changeEndpoint), ...manage, changeEndpoint);
webhookRoutes.delete("/:id", describes(w.deleteEndpoint), ...manage, deleteEndpoint);
webhookRoutes.post("/:id/rotate", describes(w.rotateSecret), ...manage, rotateSecret);
webhookRoutes.post("/:id/test", describes(w.testEndpoint), ...manage, testEndpoint);
webhookRoutes.get("/:id/deliveries", describes(w.listDeliveries), ...manage, listDeliveries);
