/**
 * The dashboard's files. At a deployment /dashboard/assets/* is answered before the Worker (wrangler.toml, [assets]);
 * all else under /dashboard is the one page, whatever its path: the page reads it. No other path touches the files.
 */
import type { Context, Next } from "hono";
import type { AppEnv } from "./app.ts";

const POLICY = [
  "default-src 'none'",
  ...["script", "style", "font", "img", "connect"].map((kind) => `${kind}-src 'self'`),
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join("; ");

const FOLDER = "/dashboard";

/** A browser at the root wants the page; a program gets the 404 that names the path. */
export async function toDashboard(c: Context<AppEnv>, next: Next): Promise<Response | void> {
  return isRead(c) && c.req.header("accept")?.includes("text/html")
    ? c.redirect(`${FOLDER}/`, 302)
    : await next();
}

export async function dashboard(c: Context<AppEnv>, next: Next): Promise<Response | void> {
  if (!isRead(c)) return await next();
  const url = new URL(c.req.url);
  if (url.pathname === FOLDER) return c.redirect(`${FOLDER}/${url.search}`, 302);
  const isFile = /^\/dashboard\/assets\/[\w.-]+$/.test(url.pathname);
  if (/^\/dashboard\/assets\//.test(url.pathname) && !isFile) return await next();
  const path = isFile ? url.pathname : `${FOLDER}/index.html`;
  const found = await c.env.ASSETS.fetch(new Request(new URL(path, url), { method: c.req.method }));
  if (!found.ok) return await next();
  const response = new Response(found.body, found);
  response.headers.set("content-security-policy", POLICY);
  response.headers.set("x-content-type-options", "nosniff");
  response.headers.set("referrer-policy", "no-referrer");
  response.headers.set("cross-origin-opener-policy", "same-origin");
  // Names of assets change with their content.
  response.headers.set(
    "cache-control",
    url.pathname.startsWith(`${FOLDER}/assets/`) ? "public, max-age=31536000, immutable" : "no-cache",
  );
  return response;
}

const isRead = (c: Context<AppEnv>) => c.req.method === "GET" || c.req.method === "HEAD";
