/**
 * Three projects: `workers` runs inside workerd with D1, queues and Durable Objects; `node` holds everything
 * that starts real processes or needs none of a platform; `long` is `npm run test:long`.
 */
import { cloudflareTest, readD1Migrations } from "@cloudflare/vitest-plugin";
import { build } from "esbuild";
import { defineConfig } from "vitest/config";
import { buildDashboard } from "../functions/local/dashboard.ts";

const root = new URL("..", import.meta.url).pathname;
/** The Worker that sends webhooks, beside the edge as a deployment has it. */
const sender = await build({
  entryPoints: [`${root}functions/webhooks/sender.ts`],
  bundle: true,
  write: false,
  format: "esm",
  target: "es2024",
  external: ["cloudflare:*"],
});
// wrangler.toml's assets must be there before workerd starts.
await buildDashboard();
const secret = "0123456789abcdef0123456789abcdef";

export default defineConfig({
  root,
  test: {
    // Two files at a time, on two cores too: most of a test's time is waiting for processes that it started.
    maxWorkers: 2,
    projects: [
      {
        root,
        plugins: [
          cloudflareTest({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: {
              bindings: {
                ADMIN_KEY: `admin-${secret}`,
                KEY_SECRET_A: secret,
                CAUSEWAY_FC_SEED: process.env.CAUSEWAY_FC_SEED ?? "",
                CAUSEWAY_FC_RUNS: process.env.CAUSEWAY_FC_RUNS ?? "",
                BACKEND_TEST_SECRET: `backend-${secret}`,
                WEBHOOK_ALLOW_LOOPBACK: "true",
                TEST_MIGRATIONS: await readD1Migrations(`${root}migrations/d1`),
              },
              workers: [
                {
                  name: "causeway-webhooks",
                  compatibilityDate: "2026-10-01",
                  compatibilityFlags: ["global_fetch_strictly_public"],
                  modules: [{ type: "ESModule", path: "sender.js", contents: sender.outputFiles[0].text }],
                  bindings: { WEBHOOK_ALLOW_LOOPBACK: "true", WEBHOOK_TIMEOUT_MS: "1500" },
                },
              ],
            },
          }),
        ],
        test: {
          name: "workers",
          include: ["functions/**/*.test.ts", "test/money/**/*.test.ts"],
          exclude: ["functions/local/**", "functions/dashboard/**"],
          setupFiles: ["test/support/setup.ts"],
          testTimeout: 30_000,
        },
      },
      {
        root,
        test: {
          name: "node",
          include: [
            "router/**/*.test.ts",
            "engine/**/*.test.ts",
            "functions/{local,dashboard}/**/*.test.ts",
            "migrations/**/*.test.ts",
            "test/{conformance,e2e,faults,pages}/**/*.test.ts",
          ],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        root,
        test: {
          name: "long",
          include: ["test/long/**/*.test.ts"],
          testTimeout: 3_600_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
