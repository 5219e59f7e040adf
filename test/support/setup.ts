/** Before each file of the project `workers`: D1 as a deployment has it. */
import { applyD1Migrations, type D1Migration } from "cloudflare:test";
import { env as bound } from "cloudflare:workers";

const env = bound as unknown as { DB: D1Database; TEST_MIGRATIONS: D1Migration[] };

await applyD1Migrations(env.DB, env.TEST_MIGRATIONS);
