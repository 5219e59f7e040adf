import { expect, it } from "vitest";
import { blockTokens, LatentCache } from "./latent.ts";

const shape = { layers: 2, kvLoraRank: 3, qkRopeDim: 2 };
const blockBytes = 2 * 5 * 4 * blockTokens;

it("allocates no block before a token needs it", () => {
  const cache = new LatentCache(shape, 10 * blockBytes);
  const sequence = cache.open(3 * blockTokens)!;
  expect(cache.allocatedBytes).toBe(0);
  expect(cache.reservedBytes).toBe(3 * blockBytes);
  sequence.grow(1);
  expect(cache.allocatedBytes).toBe(blockBytes);
  sequence.length = blockTokens;
  sequence.grow(1);
  expect(cache.allocatedBytes).toBe(2 * blockBytes);
});

it("never promises more than its limit, and takes promises back when a sequence closes", () => {
  const cache = new LatentCache(shape, 4 * blockBytes + blockBytes / 2);
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
  const cache = new LatentCache(shape, 4 * blockBytes);
  for (let i = 0; i < 10; i++) {
    const sequence = cache.open(4 * blockTokens)!;
    sequence.grow(4 * blockTokens);
    sequence.close();
  }
  expect(cache.allocatedBytes).toBe(4 * blockBytes);
  expect(cache.reservedBytes).toBe(0);
});

it("refuses to let a sequence outgrow its reservation", () => {
  const sequence = new LatentCache(shape, 4 * blockBytes).open(blockTokens)!;
  expect(() => sequence.grow(blockTokens + 1)).toThrow("outgrew");
});
