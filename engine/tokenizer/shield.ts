/**
 * Keeps what a request says from being taken for the template's own tokens: a user who types `<｜Assistant｜>` must
 * not end their own turn. Before rendering, each character that a special token can begin with is replaced in every
 * string of the request; in the rendered text only the template's tokens are whole then, and after the text has been
 * cut at them the characters come back.
 */

/** Unicode's noncharacters, then its private use area. */
const standIns: readonly [number, number][] = [
  [0xfdd0, 0xfdef],
  [0xe000, 0xf8ff],
];
const anyStandIn = /[\ufdd0-\ufdef\ue000-\uf8ff]/g;

const maxDepth = 100;

/** The request holds thousands of different private characters, or is nested too deeply to be looked through. */
export class ShieldError extends Error {
  override readonly name = "ShieldError";
}

export class Shield<T> {
  /** The request's values with stand-ins, for the template. */
  readonly values: T;
  readonly #standInOf = new Map<string, string>();
  readonly #characterOf = new Map<string, string>();
  #found: RegExp | undefined;

  /** firsts: what special tokens begin with, a UTF-16 unit each. Errors: ShieldError. */
  constructor(firsts: ReadonlySet<string>, values: T) {
    const free = unused(values);
    for (const first of firsts) {
      const standIn = free.next();
      if (standIn.done) throw new ShieldError("The messages use every private character there is.");
      this.#standInOf.set(first, standIn.value);
      this.#characterOf.set(standIn.value, first);
    }
    const pattern = (characters: Iterable<string>) =>
      new RegExp(`[${[...characters].map(escaped).join("")}]`, "g");
    const first = firsts.size > 0 ? pattern(firsts) : undefined;
    this.#found = firsts.size > 0 ? pattern(this.#characterOf.keys()) : undefined;
    this.values = first
      ? (mapStrings(values, (text) => text.replace(first, (each) => this.#standInOf.get(each)!)) as T)
      : values;
  }

  /** The text as it was meant. */
  restore(text: string): string {
    return this.#found ? text.replace(this.#found, (each) => this.#characterOf.get(each)!) : text;
  }
}

function* unused(values: unknown): Generator<string> {
  const used = new Set<string>();
  mapStrings(values, (text) => {
    for (const [found] of text.matchAll(anyStandIn)) used.add(found);
    return text;
  });
  for (const [from, to] of standIns) {
    for (let unit = from; unit <= to; unit++) {
      const character = String.fromCharCode(unit);
      if (!used.has(character)) yield character;
    }
  }
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** A copy of JSON-like values with every string changed, the names of fields of a request's own objects too. */
function mapStrings(value: unknown, change: (text: string) => string, depth = 0): unknown {
  if (typeof value === "string") return change(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth === maxDepth) throw new ShieldError(`They are nested more than ${maxDepth} deep.`);
  if (Array.isArray(value)) return value.map((each) => mapStrings(each, change, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [change(name), mapStrings(each, change, depth + 1)]),
  );
}
