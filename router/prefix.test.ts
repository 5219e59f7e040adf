import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chainedBlocks } from "./blocks.ts";
import { createPrefixIndex, forgetBackend, insertPrefix, matchPrefix, type PrefixIndex } from "./prefix.ts";

function matched(index: PrefixIndex, salt: string, blocks: readonly string[]): Record<string, number> {
  const found: Record<string, number> = {};
  matchPrefix(index, salt, blocks, (backend, many) => {
    expect(found[backend]).toBeUndefined();
    found[backend] = many;
  });
  return found;
}

/** A prompt over a small alphabet, so that many share a prefix, and its blocks. */
const prompt = fc
  .array(fc.constantFrom("a", "b"), { minLength: 1, maxLength: 12 })
  .map((letters) => letters.join(""));
const blocksOf = (text: string) => chainedBlocks(text, 1);

describe("the prefix index", () => {
  it("tells for each backend the longest prefix that it was given, as a plain search would", () => {
    const inserts = fc.array(fc.tuple(fc.constantFrom("acct_1", "acct_2"), prompt, fc.nat(5)), {
      maxLength: 40,
    });
    fc.assert(
      fc.property(inserts, prompt, (given, asked) => {
        const index = createPrefixIndex();
        for (const [salt, text, at] of given) insertPrefix(index, salt, blocksOf(text), `b${at}`);
        const expected: Record<string, number> = {};
        for (const [salt, text, at] of given) {
          if (salt !== "acct_1") continue;
          let common = 0;
          while (common < asked.length && asked[common] === text[common]) common++;
          if (common > 0) expected[`b${at}`] = Math.max(expected[`b${at}`] ?? 0, common);
        }
        expect(matched(index, "acct_1", blocksOf(asked))).toEqual(expected);
      }),
      { numRuns: 500, verbose: true },
    );
  });

  it("stays within its bound, and what is left of a prompt is its beginning", () => {
    const inserts = fc.array(fc.tuple(prompt, fc.nat(3)), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(inserts, fc.integer({ min: 1, max: 30 }), (given, bound) => {
        const index = createPrefixIndex(bound);
        for (const [text, at] of given) {
          insertPrefix(index, "acct_1", blocksOf(text), `b${at}`);
          expect(index.pairs).toBeLessThanOrEqual(bound);
        }
        const entries = index.salts.get("acct_1") ?? new Map();
        let pairs = 0;
        for (const entry of entries.values()) pairs += entry.holders.length;
        expect(index.pairs).toBe(pairs);
        for (const [text] of given) {
          const held = blocksOf(text).map((hash) => new Set(entries.get(hash)?.holders));
          for (let depth = 1; depth < held.length; depth++) {
            for (const holder of held[depth]!) expect(held[depth - 1]!.has(holder)).toBe(true);
          }
        }
      }),
      { numRuns: 500, verbose: true },
    );
  });

  it("evicts what was not used for longest", () => {
    const index = createPrefixIndex(6);
    insertPrefix(index, "s", blocksOf("aaa"), "b0");
    insertPrefix(index, "s", blocksOf("bbb"), "b0");
    insertPrefix(index, "s", blocksOf("aaa"), "b0");
    insertPrefix(index, "s", blocksOf("abb"), "b0");
    expect(matched(index, "s", blocksOf("aaa"))).toEqual({ b0: 3 });
    expect(matched(index, "s", blocksOf("bbb"))).toEqual({ b0: 1 });
  });

  it("forgets a backend that is gone, and gives its place to the next", () => {
    const index = createPrefixIndex();
    insertPrefix(index, "s", blocksOf("ab"), "b0");
    insertPrefix(index, "s", blocksOf("abb"), "b1");
    forgetBackend(index, "b0");
    expect(matched(index, "s", blocksOf("abb"))).toEqual({ b1: 3 });
    insertPrefix(index, "s", blocksOf("a"), "b2");
    expect(matched(index, "s", blocksOf("abb"))).toEqual({ b1: 3, b2: 1 });
    expect(index.pairs).toBe(4);
    expect(index.backends).toHaveLength(2);
    forgetBackend(index, "b1");
    forgetBackend(index, "b2");
    expect([index.pairs, index.salts.size, index.newest, index.oldest]).toEqual([0, 0, undefined, undefined]);
  });
});

describe("blocks", () => {
  it("hash all that came before them", () => {
    const one = chainedBlocks("the same words, the same end", 4);
    const other = chainedBlocks("The same words, the same end", 4);
    expect(one).toHaveLength(7);
    expect(one.some((hash) => other.includes(hash))).toBe(false);
    expect(chainedBlocks("the same words, and another end", 4).slice(0, 4)).toEqual(one.slice(0, 4));
  });

  it("leave an unfinished one out", () => {
    expect(chainedBlocks("abcdefg", 4)).toHaveLength(1);
    expect(chainedBlocks("abc", 4)).toEqual([]);
  });

  it("differ: a hundred thousand blocks have as many hashes", () => {
    const text = Array.from({ length: 2_048 * 4 }, (_, at) => String.fromCharCode(97 + (at % 26))).join("");
    const all = new Set<string>();
    for (let start = 0; start < 50; start++) for (const hash of chainedBlocks(start + text, 4)) all.add(hash);
    expect(all.size).toBe(50 * 2_048);
  });
});
