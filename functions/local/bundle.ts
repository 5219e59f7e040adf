/** The Worker as one module, as wrangler would make it at a deployment. */
import { join } from "node:path";
import { build, type Message } from "esbuild";
import { Failure } from "./failure.ts";

/** @returns the path of the script. */
export async function bundle(main: string, define: Record<string, string>, outdir: string): Promise<string> {
  await build({
    entryPoints: { index: main },
    outdir,
    bundle: true,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "browser"],
    external: ["cloudflare:*", "node:*"],
    loader: { ".sql": "text" },
    define,
    sourcemap: true,
    logLevel: "silent",
  }).catch((error: { errors?: Message[] }) => {
    const first = error.errors?.[0];
    if (first === undefined) throw error;
    const at = first.location === null ? "" : ` (${first.location.file}:${first.location.line})`;
    throw new Failure(`The Worker cannot be bundled: ${first.text}${at}.`);
  });
  return join(outdir, "index.js");
}
