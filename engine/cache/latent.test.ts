import { describe, expect, it } from "vitest";
import { PlainOps } from "../layers/plain.ts";
import { Random } from "../sampling/random.ts";
import { blockTokens } from "./block-pool.ts";
import { LatentCache, type SequenceCache } from "./latent.ts";
import { Prefix } from "./prefix.ts";

const ops = new PlainOps();
const shape = { layers: 2, kvLoraRank: 3, qkRopeDim: 2 };
const blockBytes = 2 * 5 * 4 * blockTokens;

it("allocates no block before a token needs it", () => {
  const cache = new LatentCache(shape, 10 * blockBytes, ops);
  const sequence = cache.open(3 * blockTokens)!;
  expect(cache.allocatedBytes).toBe(0);
  expect(cache.reservedBytes).toBe(3 * blockBytes);
  sequence.grow(1);
  expect(cache.allocatedBytes).toBe(blockBytes);
  sequence.append(new Array(blockTokens).fill(0));
  sequence.grow(1);
  expect(cache.allocatedBytes).toBe(2 * blockBytes);
});

it("never promises more than its limit, and takes promises back when a sequence closes", () => {
  const cache = new LatentCache(shape, 4 * blockBytes + blockBytes / 2, ops);
  expect(cache.maxTokens).toBe(4 * blockTokens);
  const first = cache.open(3 * blockTokens)!;
  expect(cache.open(2 * blockTokens)).toBeUndefined();
  const second = cache.open(blockTokens)!;
  expect(cache.open(1)).toBeUndefined();
  first.close();
  first.close();
  expect(cache.reservedBytes).toBe(blockBytes);
  expect(cache.open(3 * blockTokens)).toBeDefined();
  second.close();
});

it("uses the blocks of closed sequences again", () => {
  const cache = new LatentCache(shape, 4 * blockBytes, ops);
  for (let i = 0; i < 10; i++) {
    const sequence = cache.open(4 * blockTokens)!;
    sequence.grow(4 * blockTokens);
    sequence.close();
  }
  expect(cache.allocatedBytes).toBe(4 * blockBytes);
  expect(cache.reservedBytes).toBe(0);
});

it("refuses to let a sequence outgrow its reservation", () => {
  const sequence = new LatentCache(shape, 4 * blockBytes, ops).open(blockTokens)!;
  expect(() => sequence.grow(blockTokens + 1)).toThrow("outgrew");
});

/** Opens, computes as far as the prompt, and says how many tokens were found. */
function compute(cache: LatentCache, salt: string, tokens: number[]): SequenceCache {
  const sequence = cache.open(tokens.length, new Prefix(salt, tokens))!;
  const rest = tokens.slice(sequence.length);
  sequence.grow(rest.length);
  sequence.append(rest);
  return sequence;
}

const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);

describe("a beginning that was computed before", () => {
  it("is found in whole blocks, by the same salt, while it is held and after", () => {
    const cache = new LatentCache(shape, 100 * blockBytes, ops);
    const first = compute(cache, "a", numbers(40));
    const second = compute(cache, "a", [...numbers(36), 99, 98]);
    expect(second.foundTokens).toBe(32);
    expect(second.blocks.slice(0, 2)).toEqual(first.blocks.slice(0, 2));
    expect(second.blocks[2]).not.toBe(first.blocks[2]);
    expect(cache.reservedBytes).toBe(4 * blockBytes);
    first.close();
    second.close();
    expect([cache.reservedBytes, cache.reusableBytes]).toEqual([0, 2 * blockBytes]);
    expect(compute(cache, "a", numbers(40)).foundTokens).toBe(32);
  });

  it("is found by no other salt, and by none without one", () => {
    const cache = new LatentCache(shape, 100 * blockBytes, ops);
    compute(cache, "a", numbers(40));
    for (const salt of ["b", "", "a "]) expect(compute(cache, salt, numbers(40)).foundTokens).toBe(0);
    expect(cache.open(40)!.foundTokens).toBe(0);
  });

  it("is found only from the very first token on", () => {
    const cache = new LatentCache(shape, 100 * blockBytes, ops);
    compute(cache, "", numbers(64));
    expect(compute(cache, "", numbers(48, blockTokens)).foundTokens).toBe(0);
    expect(compute(cache, "", [...numbers(16), 7, ...numbers(31, 17)]).foundTokens).toBe(16);
  });

  it.each([
    [1, 0],
    [16, 0],
    [17, 16],
    [32, 16],
    [33, 32],
  ])("of %i tokens leaves at least the last to compute", (count, found) => {
    const cache = new LatentCache(shape, 100 * blockBytes, ops);
    compute(cache, "", numbers(64));
    expect(compute(cache, "", numbers(count)).foundTokens).toBe(found);
  });

  it("includes what was generated after the prompt", () => {
    const cache = new LatentCache(shape, 100 * blockBytes, ops);
    const sequence = cache.open(48, new Prefix("", numbers(20)))!;
    sequence.grow(20);
    sequence.append(numbers(20));
    for (const token of numbers(28, 20)) {
      sequence.grow(1);
      sequence.append([token]);
    }
    sequence.close();
    expect(compute(cache, "", numbers(60)).foundTokens).toBe(48);
  });
});

describe("a full cache", () => {
  it("gives up what was unused for the longest, the end of a conversation before its beginning", () => {
    const cache = new LatentCache(shape, 8 * blockBytes, ops);
    compute(cache, "old", numbers(64)).close();
    compute(cache, "new", numbers(64)).close();
    const other = cache.open(6 * blockTokens)!;
    other.grow(6 * blockTokens);
    expect(cache.allocatedBytes).toBe(8 * blockBytes);
    other.close();
    expect(compute(cache, "old", numbers(64)).foundTokens).toBe(0);
    const again = compute(cache, "new", numbers(64));
    expect(again.foundTokens).toBe(32);
  });

  it("has room for a sequence that shares with those that run", () => {
    const cache = new LatentCache(shape, 5 * blockBytes, ops);
    const first = compute(cache, "", numbers(64));
    expect(cache.open(64)).toBeUndefined();
    const second = cache.open(64, new Prefix("", numbers(64)));
    expect(second?.foundTokens).toBe(48);
    expect(cache.open(64, new Prefix("", numbers(64)))).toBeUndefined();
    second!.close();
    first.close();
  });
});

const seed = Math.floor(Math.random() * 2 ** 31);
it(`keeps every sequence's values, mixes no salts and loses no block, whatever happens (seed ${seed})`, () => {
  const random = new Random(seed);
  const below = (limit: number) => Math.floor(random.next() * limit);
  const cache = new LatentCache(shape, 24 * blockBytes, ops);
  const { values } = cache.memory;
  /** Some value of the token's own. */
  const placeOf = (sequence: SequenceCache, position: number) =>
    (sequence.blocks[Math.floor(position / blockTokens)] * 2 * blockTokens + (position % blockTokens)) * 5;
  // What a model would write is a function of all tokens so far; here also of the salt, to see whose it is.
  const valueAfter = (salt: string, tokens: readonly number[]) =>
    Math.fround(tokens.reduce((sum, token) => (sum * 31 + token + 1) % 65_521, salt.charCodeAt(0)));
  interface Open {
    sequence: SequenceCache;
    salt: string;
    tokens: number[];
    prompt: number;
    most: number;
  }
  let open: Open[] = [];
  let found = 0;
  const write = (each: Open, count: number) => {
    each.sequence.grow(count);
    const from = each.sequence.length;
    const more = each.tokens.slice(from, from + count);
    while (more.length < count) {
      more.push(below(2));
      each.tokens.push(more.at(-1)!);
    }
    for (let i = 0; i < count; i++) {
      const position = from + i;
      values[placeOf(each.sequence, position)] = valueAfter(each.salt, each.tokens.slice(0, position + 1));
    }
    each.sequence.append(more);
  };
  const check = ({ sequence, salt, tokens }: Open) => {
    for (let position = 0; position < sequence.length; position++) {
      const value = values[placeOf(sequence, position)];
      if (value !== valueAfter(salt, tokens.slice(0, position + 1))) throw new Error(`position ${position}`);
    }
  };
  for (let step = 0; step < 3_000; step++) {
    const action = below(4);
    if (action === 0) {
      const salt = "ab"[below(2)];
      // Few different beginnings, so that there is something to find.
      const base = below(3);
      const tokens = Array.from({ length: 1 + below(100) }, (_, i) => (i < 60 ? (i * base) % 7 : below(2)));
      const most = tokens.length + below(40);
      const sequence = cache.open(most, new Prefix(salt, tokens));
      if (!sequence) continue;
      found += sequence.foundTokens;
      open.push({ sequence, salt, tokens, prompt: tokens.length, most });
    } else if (open.length > 0) {
      const each = open[below(open.length)];
      check(each);
      const left = each.sequence.length < each.prompt ? each.prompt : each.most;
      if (action === 1 || each.sequence.length === each.most) {
        each.sequence.close();
        each.sequence.close();
        open = open.filter((other) => other !== each);
      } else write(each, 1 + below(left - each.sequence.length));
    }
    expect(cache.reservedBytes).toBeLessThanOrEqual(24 * blockBytes);
    expect(cache.allocatedBytes).toBeLessThanOrEqual(24 * blockBytes);
  }
  for (const each of open) {
    check(each);
    each.sequence.close();
  }
  expect(found).toBeGreaterThan(1_000);
  expect(cache.reservedBytes).toBe(0);
  const all = cache.open(24 * blockTokens)!;
  all.grow(24 * blockTokens);
  expect(new Set(all.blocks).size).toBe(24);
  expect(cache.reusableBytes).toBe(0);
});
