/** What `npx wrangler deploy` would upload: each Worker bundles from its wrangler.toml alone, with its bindings, offline. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";

const root = new URL("../..", import.meta.url).pathname;

it("wrangler deploy --dry-run bundles the edge and names its bindings", async () => {
  const output = await dryRun();
  for (const binding of ["ACCOUNTS", "POOLS", "DELIVERIES", "OUTBOX", "WEBHOOKS", "SENDER", "DB", "ASSETS"])
    expect(output).toContain(`env.${binding}`);
});

it("the sender of webhooks is bundled beside it, and has variables and nothing else", async () => {
  const output = await dryRun("--config", "functions/webhooks/wrangler.toml");
  expect([...output.matchAll(/env\.(\w+)/g)].map(([, name]) => name).sort()).toEqual([
    "WEBHOOK_OWN_ZONES",
    "WEBHOOK_TIMEOUT_MS",
  ]);
});

async function dryRun(...more: string[]): Promise<string> {
  const home = mkdtempSync(join(tmpdir(), "causeway-deploy-"));
  try {
    return await new Promise<string>((resolve, reject) => {
      const args = ["deploy", "--dry-run", "--outdir", join(home, "out"), ...more];
      const env = {
        ...process.env,
        HOME: home,
        WRANGLER_SEND_METRICS: "false",
        WRANGLER_LOG_PATH: home,
        NO_COLOR: "1",
      };
      execFile(join(root, "node_modules/.bin/wrangler"), args, { cwd: root, env }, (error, stdout, stderr) =>
        error ? reject(new Error(stdout + stderr)) : resolve(stdout),
      );
    });
  } finally {
    rmSync(home, { recursive: true });
  }
}
