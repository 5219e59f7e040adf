import { defineConfig } from "drizzle-kit";

export default defineConfig({
  dialect: "sqlite",
  driver: "durable-sqlite",
  schema: "functions/db/account/schema.ts",
  out: "migrations/account",
});
