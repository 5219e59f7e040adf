/**
 * Compiles the kernels to WebAssembly, into .causeway/build/kernels, when their sources have changed: `npm start` and
 * the tests need no step before. Several processes may do it at once: each writes its own file and renames it.
 *
 * The compiler optimises little on purpose (-O1): more sinks every load into one expression, and registers spill.
 */
import { createHash, randomUUID } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { type Flavour, generate } from "./generate.ts";

/** Not a literal, so that its types are not read: they declare a global `console` of the language's own. */
const compilerModule: string = "assemblyscript/asc";

type CompilerMain = (
  args: readonly string[],
  io: {
    readFile(name: string): string | null;
    writeFile(name: string, contents: string | Uint8Array): void;
    listFiles(): readonly string[];
  },
) => Promise<{ error: Error | null; stderr: { toString(): string } }>;

const kernels = import.meta.dirname;
const buildFolder = join(kernels, "../../.causeway/build/kernels");
const options = [
  "-O1",
  "--noAssert",
  ...["--uncheckedBehavior", "always"],
  ...["--runtime", "stub"],
  "--importMemory",
  "--sharedMemory",
  ...["--initialMemory", "1"],
  ...["--maximumMemory", "65536"],
  ...["--enable", "simd,relaxed-simd,threads"],
];

/** The module's bytes, compiled now where they are not there yet; then a line says so. */
export async function kernelModule(flavour: Flavour): Promise<Uint8Array<ArrayBuffer>> {
  const { bytes, builtInMs } = await foundOrBuilt(flavour);
  if (builtInMs !== undefined) {
    console.error(`engine: built the ${flavour} kernels in ${(builtInMs / 1000).toFixed(1)} s`);
  }
  return bytes;
}

/**
 * Compiles it where it is not there yet: once, for whoever starts several engines.
 * @returns whether it had to.
 */
export async function buildKernels(flavour: Flavour): Promise<boolean> {
  return (await foundOrBuilt(flavour)).builtInMs !== undefined;
}

async function foundOrBuilt(
  flavour: Flavour,
): Promise<{ bytes: Uint8Array<ArrayBuffer>; builtInMs?: number }> {
  const path = join(buildFolder, `${sourcesHash()}-${flavour}.wasm`);
  const found = read(path);
  if (found) return { bytes: found };
  const started = performance.now();
  const bytes = await compile(flavour);
  mkdirSync(buildFolder, { recursive: true });
  const own = `${path}.${randomUUID()}`;
  writeFileSync(own, bytes);
  renameSync(own, path);
  removeOld(path);
  return { bytes, builtInMs: performance.now() - started };
}

function read(path: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** The sources by the names that the compiler asks for. products.ts is not a file: generate.ts writes it. */
function sources(flavour: Flavour): Map<string, string> {
  const assembly = join(kernels, "assembly");
  const files = readdirSync(assembly).filter((name) => name.endsWith(".ts"));
  const texts = new Map(
    files.map((name) => [`assembly/${name}`, readFileSync(join(assembly, name), "utf8")]),
  );
  texts.set("constants.ts", readFileSync(join(kernels, "constants.ts"), "utf8"));
  texts.set("assembly/products.ts", generate(flavour));
  return texts;
}

function sourcesHash(): string {
  const hash = createHash("sha256").update(compilerVersion()).update(options.join(" "));
  for (const flavour of ["fma", "strict"] as const) {
    for (const [name, text] of sources(flavour)) hash.update(`${name}\0${text.length}\0${text}`);
  }
  return hash.digest("hex").slice(0, 16);
}

function compilerVersion(): string {
  const path = createRequire(import.meta.url).resolve("assemblyscript/package.json");
  return (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
}

async function compile(flavour: Flavour): Promise<Uint8Array<ArrayBuffer>> {
  // Loaded only here: the compiler takes longer to load than the kernels' users take to start.
  const { main } = (await import(compilerModule)) as { main: CompilerMain };
  const texts = sources(flavour);
  let binary: Uint8Array<ArrayBuffer> | undefined;
  const { error, stderr } = await main(["assembly/index.ts", "--outFile", "kernels.wasm", ...options], {
    readFile: (name) => texts.get(name.replaceAll("\\", "/")) ?? null,
    writeFile: (name, contents) => {
      if (name === "kernels.wasm") binary = new Uint8Array(contents as Uint8Array);
    },
    listFiles: () => [],
  });
  if (error || !binary) throw new Error(`the kernels do not compile: ${error?.message}\n${stderr}`);
  return binary;
}

/** What older sources left. A file that another process is about to rename is young, and stays. */
function removeOld(current: string): void {
  const hourAgo = Date.now() - 3_600_000;
  for (const name of readdirSync(buildFolder)) {
    const path = join(buildFolder, name);
    if (path === current) continue;
    try {
      if (statSync(path).mtimeMs < hourAgo) rmSync(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error; // another process was faster
    }
  }
}
