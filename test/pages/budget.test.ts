/** What a first visit loads, compressed as a deployment compresses it: the build's manifest says which files. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";
import { expect, it } from "vitest";
import { buildDashboard, dashboardFolder } from "../../functions/local/dashboard.ts";

interface Chunk {
  readonly file: string;
  readonly isEntry?: boolean;
  readonly isDynamicEntry?: boolean;
  readonly imports?: readonly string[];
  readonly css?: readonly string[];
  readonly assets?: readonly string[];
}

const KB = 1_000;
const FIRST_LOAD = 135 * KB;
const CODE = 75 * KB;
const LAZY = 30 * KB;
/** Of the 135 kB, what a page asks the API for. */
const DATA = 10 * KB;

await buildDashboard();
const manifest = JSON.parse(readFileSync(join(dashboardFolder, "manifest.json"), "utf8")) as Record<
  string,
  Chunk
>;

function weight(file: string): number {
  const bytes = readFileSync(join(dashboardFolder, "dashboard", file));
  // Fonts are compressed already.
  if (file.endsWith(".woff2")) return bytes.length;
  return brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } }).length;
}

/** The chunk's files and those of what it imports. */
function filesOf(name: string, found = new Set<string>()): Set<string> {
  const { file, css = [], imports = [] } = manifest[name]!;
  if (found.has(file)) return found;
  for (const one of [file, ...css]) found.add(one);
  for (const one of imports) filesOf(one, found);
  return found;
}

const sum = (files: Iterable<string>) => [...files].reduce((all, file) => all + weight(file), 0);
const chunks = Object.entries(manifest);
const entry = chunks.find(([, { isEntry }]) => isEntry)![0];
const shell = filesOf(entry);
const fonts = new Set(
  chunks.flatMap(([, { file, assets = [] }]) => [file, ...assets]).filter((f) => f.endsWith(".woff2")),
);
const pages = chunks.filter(([, { isDynamicEntry }]) => isDynamicEntry);

it("has pages that are loaded when they are opened", () => {
  expect(pages.length).toBeGreaterThan(0);
  expect(fonts.size).toBeGreaterThan(0);
});

for (const [name] of pages)
  it(`keeps to the budget: ${name}`, () => {
    const code = sum(filesOf(name, new Set(shell)));
    const own = sum([...filesOf(name)].filter((file) => !shell.has(file)));
    console.log(`${name}: ${(code / KB).toFixed(1)} kB of code, ${(own / KB).toFixed(1)} kB its own`);
    expect(code).toBeLessThanOrEqual(CODE);
    expect(own).toBeLessThanOrEqual(LAZY);
    expect(code + sum(fonts) + DATA).toBeLessThanOrEqual(FIRST_LOAD);
  });
