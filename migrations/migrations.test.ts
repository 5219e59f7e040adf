/** What README.md here says of migrations, held to. */
import { execFile } from "node:child_process";
import { cp, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import account from "./account.config.ts";
import d1 from "./d1.config.ts";

const root = new URL("..", import.meta.url).pathname;
const run = promisify(execFile);

interface Journal {
  entries: { idx: number; when: number; tag: string }[];
}

const journalOf = async (folder: string): Promise<Journal> =>
  JSON.parse(await readFile(join(root, folder, "meta/_journal.json"), "utf8"));

/** All migrations of a folder, applied in the journal's order to an empty database, or to one with rows at some point. */
async function applied(
  folder: string,
  before: Readonly<Record<string, (database: DatabaseSync) => void>> = {},
): Promise<DatabaseSync> {
  const database = new DatabaseSync(":memory:");
  for (const { tag } of (await journalOf(folder)).entries) {
    before[tag]?.(database);
    const text = await readFile(join(root, folder, `${tag}.sql`), "utf8");
    for (const statement of text.split("--> statement-breakpoint")) database.exec(statement);
  }
  return database;
}

describe.each([d1, account])("the migrations in $out", (config) => {
  const folder = config.out!;

  it("rise in time: Drizzle's migrator skips one that is older than the newest applied", async () => {
    const { entries } = await journalOf(folder);
    expect(entries.length).toBeGreaterThan(0);
    for (const [i, { idx, when, tag }] of entries.entries()) {
      expect(idx).toBe(i);
      expect(tag).toMatch(new RegExp(`^${String(i).padStart(4, "0")}_`));
      if (i > 0) expect(when).toBeGreaterThan(entries[i - 1]!.when);
    }
  });

  it("are the files that the journal names, each with its snapshot, and no others", async () => {
    const { entries } = await journalOf(folder);
    const files = await readdir(join(root, folder));
    expect(files.filter((file) => file.endsWith(".sql")).sort()).toEqual(
      entries.map(({ tag }) => `${tag}.sql`),
    );
    const snapshots = await readdir(join(root, folder, "meta"));
    const expected = entries.map(({ idx }) => `${String(idx).padStart(4, "0")}_snapshot.json`);
    expect(snapshots.sort()).toEqual([...expected, "_journal.json"]);
    // The object's migrator reads this list, not the folder.
    if (files.includes("migrations.js")) {
      const list = await readFile(join(root, folder, "migrations.js"), "utf8");
      expect([...list.matchAll(/["']\.\/(\w+)\.sql["']/g)].map(([, tag]) => tag)).toEqual(
        entries.map(({ tag }) => tag),
      );
    }
  });

  it("give every table with a text or joint key WITHOUT ROWID, else each row costs two writes", async () => {
    const database = await applied(folder);
    const tables = database
      .prepare(
        "select name, wr from pragma_table_list where type = 'table' and schema = 'main' and name not like 'sqlite_%'",
      )
      .all() as { name: string; wr: number }[];
    expect(tables.length).toBeGreaterThan(0);
    for (const { name, wr } of tables) {
      const key = database.prepare("select type from pragma_table_info(?) where pk > 0").all(name) as {
        type: string;
      }[];
      expect(key.length).toBeGreaterThan(0);
      // An integer key is the row's own id: there the extra B-tree would be the waste.
      const isRowId = key.length === 1 && key[0]!.type.toLowerCase() === "integer";
      expect({ name, withoutRowId: wr === 1 }).toEqual({ name, withoutRowId: !isRowId });
    }
  });

  it("make the schema that the code has: drizzle-kit finds nothing to add", async () => {
    const temporary = await mkdtemp(join(tmpdir(), "migrations-"));
    try {
      await cp(join(root, folder), temporary, { recursive: true });
      const before = await readdir(temporary);
      // drizzle-kit takes its folders relative to where it runs.
      const out = relative(root, temporary);
      const options = ["--dialect", config.dialect, "--schema", String(config.schema), "--out", out];
      const { stdout } = await run(join(root, "node_modules/.bin/drizzle-kit"), ["generate", ...options], {
        cwd: root,
      });
      expect(stdout).toContain("No schema changes");
      expect(await readdir(temporary)).toEqual(before);
    } finally {
      await rm(temporary, { recursive: true });
    }
  });
});

it("0004_usage_view gives rollups of before the outcomes that their events have", async () => {
  const at = 1_780_000_000_000;
  const bucket = at - (at % 900_000);
  const database = await applied("migrations/d1", {
    "0004_usage_view": (old) => {
      const event = old.prepare(
        "insert into events (account, sequence, kind, at, amount, balance, model, region, backend, key_id, ending, attempts) values ('a', ?, ?, ?, 0, 0, 'm', ?, 'b', 'k', ?, ?)",
      );
      const tried = (attempts: number) => JSON.stringify(Array(attempts).fill({}));
      event.run(1, "credit", at, null, null, null);
      event.run(2, "usage", at, "r", "client_left", tried(1));
      event.run(3, "usage", at, "r", "refused", tried(2));
      event.run(4, "usage", at, "r", "finished", tried(3));
      event.run(5, "adjustment", at, "r", "client_left", tried(2));
      event.run(6, "usage", at, "other", "client_left", null);
      event.run(7, "usage", at + 900_000, "r", "finished", tried(1));
      const rollup = old.prepare(
        "insert into rollups values ('a', ?, 'm', ?, 'b', 'k', 3, 0, 0, 0, 0, 0, 0, x'', x'')",
      );
      rollup.run(bucket, "r");
      rollup.run(bucket, "other");
      rollup.run(bucket + 900_000, "r");
    },
  });
  const rows = database
    .prepare("select region, client_left, refused, failed_over from rollups order by bucket, region desc")
    .all();
  expect(rows.map((row) => Object.values(row))).toEqual([
    ["r", 1, 1, 2],
    ["other", 1, 0, 0],
    ["r", 0, 0, 0],
  ]);
});
