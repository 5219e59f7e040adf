/** What `npx wrangler deploy` would upload: the Worker bundles from wrangler.toml alone, with every binding, offline. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";

const root = new URL("../..", import.meta.url).pathname;

it("wrangler deploy --dry-run bundles the edge and names its bindings", async () => {
  const home = mkdtempSync(join(tmpdir(), "causeway-deploy-"));
  try {
    const output = await new Promise<string>((resolve, reject) => {
      const args = ["deploy", "--dry-run", "--outdir", join(home, "out")];
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
    for (const binding of ["ACCOUNTS", "POOLS", "OUTBOX", "DB"]) expect(output).toContain(`env.${binding}`);
  } finally {
    rmSync(home, { recursive: true });
  }
});
