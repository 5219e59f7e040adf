/**
 * Builds the dashboard into .causeway/build/dashboard, where wrangler.toml's [assets] looks, when its sources have
 * changed: before `npm start`, the tests and a deployment (as a program: `node functions/local/dashboard.ts`).
 * Several processes may do it at once: each builds into a folder of its own and renames it.
 */
import { createHash, randomUUID } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const project = join(import.meta.dirname, "../..");
const sources = join(project, "functions/dashboard");
export const dashboardFolder = join(project, ".causeway/build/dashboard");
const STAMP = ".sources";

/** What the Worker puts on other answers, for the files that are answered before it. */
const HEADERS = `/dashboard/assets/*
  cache-control: public, max-age=31536000, immutable
  x-content-type-options: nosniff
  referrer-policy: no-referrer
`;

/** @returns whether it had to be built. */
export async function buildDashboard(): Promise<boolean> {
  const hash = sourcesHash();
  if (builtFrom(dashboardFolder) === hash) return false;
  const own = `${dashboardFolder}.${randomUUID()}`;
  mkdirSync(own, { recursive: true });
  try {
    // Loaded only here: most starts build nothing.
    const { build } = await import("vite");
    await build({
      configFile: join(sources, "vite.config.ts"),
      logLevel: "warn",
      build: { outDir: join(own, "dashboard") },
    });
    writeFileSync(join(own, "_headers"), HEADERS);
    // The manifest and the stamp are no one's business but ours.
    renameSync(join(own, "dashboard/manifest.json"), join(own, "manifest.json"));
    writeFileSync(join(own, ".assetsignore"), `${STAMP}\nmanifest.json\n.assetsignore\n`);
    writeFileSync(join(own, STAMP), hash);
    rmSync(dashboardFolder, { recursive: true, force: true });
    renameSync(own, dashboardFolder);
  } catch (error) {
    // Another process was faster with the same.
    if (builtFrom(dashboardFolder) !== hash) throw error;
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
  return true;
}

function builtFrom(folder: string): string | undefined {
  try {
    return readFileSync(join(folder, STAMP), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function sourcesHash(): string {
  const hash = createHash("sha256")
    .update(readFileSync(join(project, "package.json")))
    .update(HEADERS);
  const names = readdirSync(sources, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/\.(test\.ts|md)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  for (const name of names) hash.update(`${name.slice(sources.length)}\0`).update(readFileSync(name));
  return hash.digest("hex").slice(0, 16);
}

if (import.meta.main) await buildDashboard();
