/** The document and its page, made once an isolate: routes do not change while it lives. */
import type { Context } from "hono";
import { type AppEnv, app } from "../app.ts";
import { documentOf, type Json } from "./document.ts";
import { pageOf } from "./page.ts";

/** The API's version: it changes when something that clients rely on does. */
const VERSION = "1";

let document: Json | undefined;
let page: ReturnType<typeof pageOf> | undefined;

/** For anybody: it says nothing of any account. */
export function openapi(c: Context<AppEnv>): Response {
  document ??= documentOf(app, VERSION);
  c.header("access-control-allow-origin", "*");
  c.header("cache-control", "public, max-age=300");
  return c.json(document);
}

export async function reference(c: Context<AppEnv>): Promise<Response> {
  document ??= documentOf(app, VERSION);
  page ??= pageOf(document);
  const { html, policy } = await page;
  c.header("content-security-policy", policy);
  c.header("x-content-type-options", "nosniff");
  c.header("referrer-policy", "no-referrer");
  c.header("cache-control", "public, max-age=300");
  return c.html(html);
}
