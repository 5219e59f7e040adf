/** The lint rules of money (test/support/lint.grit) fire where they should, and nowhere else. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = new URL("../..", import.meta.url).pathname;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(root, "test/conformance/.lint-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** The messages of our own rules for a source file that says this. */
async function complaints(source: string): Promise<string[]> {
  const file = join(folder, "sample.ts");
  await writeFile(file, `export const sample = (db: any, sql: any, x: any) => ${source};\n`);
  const args = ["lint", "--only=plugin", "--reporter=json", file];
  const out = await new Promise<string>((resolve) => {
    execFile(join(root, "node_modules/.bin/biome"), args, { cwd: root }, (_failed, stdout) =>
      resolve(stdout),
    );
  });
  const { diagnostics } = JSON.parse(out) as { diagnostics: { category: string; message: unknown }[] };
  return diagnostics
    .filter(({ category }) => category === "plugin")
    .map(({ message }) => JSON.stringify(message));
}

describe("lint", () => {
  it.each([
    "db.transaction(async (tx: any) => tx)",
    "db.transaction(async (tx: any) => { tx.run(); })",
    "db.transaction(async () => { await x; })",
    "db.transaction(async function (tx: any) { tx.run(); })",
    "db.transaction(async (tx: any) => tx, { behavior: 'immediate' })",
    "x.storage.transactionSync(async () => x)",
    "x.storage.transactionSync(async () => { await x; })",
  ])("refuses %s: what is written before it throws would stay", async (source) => {
    expect((await complaints(source)).join()).toContain("async callback");
  });

  it.each(["sql.raw(x)", "sql.identifier(x)"])(
    "refuses %s: only bound parameters reach SQL",
    async (source) => {
      expect((await complaints(source)).join()).toContain("Only bound parameters");
    },
  );

  it.each(["db.transaction((tx: any) => tx)", "x.storage.transactionSync(() => x)", "sql`select 1`"])(
    "has nothing against %s",
    async (source) => {
      expect(await complaints(source)).toEqual([]);
    },
  );
});
