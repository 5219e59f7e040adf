/**
 * Applies D1's migrations before the Worker runs: what `wrangler d1 migrations apply --local` does (the same
 * table, the same splitting, one transaction a file), without the two seconds of a wrangler of its own.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from "miniflare";
import { type Unstable_Config, unstable_splitSqlQuery } from "wrangler";
import { Failure } from "./failure.ts";

export async function migrate(
  config: Unstable_Config,
  persist: string,
  tell: (line: string) => void,
): Promise<void> {
  const database = config.d1_databases[0]!;
  const folder = join(config.configPath!, "..", database.migrations_dir!);
  const files = readdirSync(folder)
    .filter((name) => name.endsWith(".sql"))
    .sort();

  const runtime = new Miniflare(
    convertV4MiniflareOptions({
      name: "migrations",
      modules: true,
      script: "",
      d1Databases: { DB: { id: database.database_id! } },
      resourcePersistencePath: persist,
      cf: false,
      log: new Log(LogLevel.ERROR),
    }),
  );
  try {
    const db = await runtime.getD1Database("DB");
    await db
      .prepare(
        `CREATE TABLE IF NOT EXISTS "d1_migrations"(
           id INTEGER PRIMARY KEY AUTOINCREMENT,
           name TEXT UNIQUE,
           applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)`,
      )
      .run();
    const { results } = await db.prepare(`SELECT name FROM "d1_migrations"`).all<{ name: string }>();
    const applied = new Set(results.map(({ name }) => name));
    for (const file of files.filter((name) => !applied.has(name))) {
      const statements = unstable_splitSqlQuery(readFileSync(join(folder, file), "utf8"));
      await db
        .batch([
          ...statements.map((sql) => db.prepare(sql)),
          db.prepare(`INSERT INTO "d1_migrations" (name) VALUES (?)`).bind(file),
        ])
        .catch((error: Error) => {
          throw new Failure(
            `Migration ${file} failed, and nothing of it was applied: ${reason(error)}. ` +
              `It is in ${config.d1_databases[0]!.migrations_dir}.`,
          );
        });
      tell(`applied ${file}`);
    }
  } finally {
    await runtime.dispose();
  }
}

/** D1 puts its name before the reason and codes after it. */
function reason(error: Error): string {
  return error.message.replace(/^D1_\w+: /, "").replace(/: SQLITE_\w+$/, "");
}
