/** What a run may be told from outside: by options, and by the environment (tests start many runs at once). */
import { isAbsolute, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Failure } from "./failure.ts";
import { engines } from "./fleet.ts";

export const project = join(import.meta.dirname, "../..");

export interface Settings {
  /** Everything that outlives a run: databases, secrets, the demo key. */
  readonly stateDir: string;
  /** The edge's port; 0 takes a free one, for the engines too. */
  readonly port: number;
  /** How many engines of the fleet to start: 0 leaves the edge without a backend of its own. */
  readonly engines: number;
  /** Replaces [vars] of wrangler.toml, by name. */
  readonly vars: Readonly<Record<string, string>>;
}

export function readSettings(args: string[], env: NodeJS.ProcessEnv): Settings {
  const { port = env.PORT ?? "8787" } = options(args);
  return {
    stateDir: stateDir(env.CAUSEWAY_STATE_DIR ?? ".causeway"),
    port: whole("The port (--port or PORT)", port, 65_535),
    engines: whole("CAUSEWAY_ENGINES", env.CAUSEWAY_ENGINES ?? String(engines.length), engines.length),
    vars: vars(env.CAUSEWAY_VARS ?? "{}"),
  };
}

function options(args: string[]): { port?: string | undefined } {
  try {
    return parseArgs({ args, options: { port: { type: "string" } } }).values;
  } catch (error) {
    throw new Failure(`${(error as Error).message.split("\n")[0]} Known options: --port N.`);
  }
}

function stateDir(path: string): string {
  return isAbsolute(path) ? path : resolve(project, path);
}

function whole(name: string, text: string, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= most) return value;
  throw new Failure(`${name} must be a whole number from 0 to ${most}, not "${text}".`);
}

function vars(text: string): Record<string, string> {
  try {
    const value: unknown = JSON.parse(text);
    const flat = typeof value === "object" && value !== null && !Array.isArray(value);
    if (flat && Object.values(value).every((item) => typeof item === "string")) {
      return value as Record<string, string>;
    }
  } catch {
    // Said below, as for any other wrong value.
  }
  throw new Failure(`CAUSEWAY_VARS must be a JSON object of strings, such as {"IDLE_MS":"2000"}.`);
}
