import { defineConfig } from "drizzle-kit";

export default defineConfig({
  dialect: "sqlite",
  driver: "d1-http",
  schema: "functions/db/d1/schema.ts",
  out: "migrations/d1",
});
