/**
 * Limits of the JSON schemas that a request brings. A backend renders a tool's into its prompt and compiles one that
 * an answer must follow into a grammar: both are work that a small text can make large, by depth, by number, or by
 * repetition (`maxItems` in `maxItems`, `{1000}` in a pattern, `$ref` to `$ref`).
 */

/** Of values inside values. */
const MAX_DEPTH = 64;
const MAX_PATTERN = 1_000;
/** Of a schema that is compiled, with its repetitions and references written out. */
const MAX_WRITTEN_OUT = 100_000;

export interface Size {
  /** Values: objects, lists, and what they hold. */
  readonly nodes: number;
  /** Characters of its JSON. */
  readonly characters: number;
}

/** How large a value is, or what is wrong with it. Takes one step a value, and no stack a level. */
export function sizeOf(value: unknown, most: Size): Size | string {
  let nodes = 0;
  const left: { value: unknown; depth: number }[] = [{ value, depth: 1 }];
  for (let next = left.pop(); next; next = left.pop()) {
    if (++nodes > most.nodes) return `must hold at most ${most.nodes} values`;
    if (next.depth > MAX_DEPTH) return `must be nested at most ${MAX_DEPTH} deep`;
    if (typeof next.value !== "object" || next.value === null) continue;
    for (const inner of Object.values(next.value)) left.push({ value: inner, depth: next.depth + 1 });
  }
  const characters = JSON.stringify(value).length;
  return characters > most.characters
    ? `must have at most ${most.characters} characters`
    : { nodes, characters };
}

/** What is wrong with a schema that a backend will compile; undefined: nothing. Its size is known to be limited. */
export function compileProblem(schema: object): string | undefined {
  try {
    return new Expansion(schema).of(schema) > MAX_WRITTEN_OUT
      ? `is too large with its repetitions written out (minItems, maxItems, minLength, maxLength, patterns, $ref): at most ${MAX_WRITTEN_OUT}`
      : undefined;
  } catch (error) {
    if (error instanceof SchemaError) return error.message;
    throw error;
  }
}

class SchemaError extends Error {}

const REPETITIONS = ["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"];
/** Their values are data, and no schemas. */
const DATA = new Set(["const", "enum", "default", "examples"]);

/** How large a schema is when each repetition and each reference is written out. */
class Expansion {
  readonly #root: unknown;
  /** By reference. 1 while it is measured: a circle is a rule that names itself, and is written once. */
  readonly #known = new Map<string, number>();

  constructor(root: object) {
    this.#root = root;
  }

  of(schema: unknown): number {
    if (typeof schema !== "object" || schema === null) return 1;
    if (Array.isArray(schema)) return capped(schema.reduce((sum: number, each) => sum + this.of(each), 1));
    let sum = 1;
    let times = 1;
    for (const [name, value] of Object.entries(schema)) {
      if (name === "$ref" && typeof value === "string") sum += this.#reference(value);
      else if (name === "pattern" && typeof value === "string") sum += sizeOfPattern(value);
      else if (name === "patternProperties" && isObject(value))
        sum += Object.entries(value).reduce(
          (all, [key, each]) => all + sizeOfPattern(key) + this.of(each),
          1,
        );
      else if (DATA.has(name)) sum += Array.isArray(value) ? value.length : 1;
      else if (REPETITIONS.includes(name) && typeof value === "number") times = Math.max(times, value);
      else sum += this.of(value);
    }
    return capped(sum * times);
  }

  #reference(to: string): number {
    const known = this.#known.get(to);
    if (known !== undefined) return known;
    this.#known.set(to, 1);
    const size = this.of(target(this.#root, to));
    this.#known.set(to, size);
    return size;
  }
}

/** Far past any limit, and far from where numbers stop being exact. */
const capped = (size: number): number => Math.min(size, 1e12);

/** A pattern's length times all its counted repetitions, as if each stood in the other. */
function sizeOfPattern(pattern: string): number {
  if (pattern.length > MAX_PATTERN)
    throw new SchemaError(`has a pattern of more than ${MAX_PATTERN} characters`);
  let size = pattern.length;
  for (const [, least, most] of pattern.matchAll(/\{(\d{1,9})(?:,(\d{0,9}))?\}/g))
    size = capped(size * Math.max(1, Number(least), Number(most ?? 0)));
  return size;
}

/** What a reference inside the schema stands for. One that leads out of it would be fetched by somebody. */
function target(root: unknown, reference: string): unknown {
  if (reference !== "#" && !reference.startsWith("#/"))
    throw new SchemaError("has a $ref that leads out of the schema");
  let at = root;
  for (const part of reference.split("/").slice(1)) {
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    const inside = typeof at === "object" && at !== null && Object.hasOwn(at, name);
    if (!inside) throw new SchemaError("has a $ref to nothing");
    at = (at as Record<string, unknown>)[name];
  }
  return at;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
