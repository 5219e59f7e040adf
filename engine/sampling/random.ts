/**
 * The random numbers of sampling: xoshiro128** (Blackman and Vigna, "Scrambled linear pseudorandom number generators",
 * ACM TOMS 2021), its state filled by splitmix32 from the seed. Small, well tested and the same on every machine,
 * so a seed gives the same text everywhere. Not for secrets.
 */
export class Random {
  readonly #state = new Uint32Array(4);

  /** seed: any safe integer. */
  constructor(seed: number) {
    // Both halves of the seed, so that seeds that differ above 32 bits differ here.
    let mixed = seed >>> 0;
    const high = Math.floor(seed / 2 ** 32) >>> 0;
    for (let i = 0; i < 4; i++) {
      mixed = (mixed + 0x9e3779b9) >>> 0;
      this.#state[i] = splitmix32(mixed) ^ (i % 2 === 1 ? splitmix32(high + i) : 0);
    }
    if (this.#state.every((word) => word === 0)) this.#state[0] = 1;
  }

  /** Uniform in [0, 1), 32 bits of it. */
  next(): number {
    const state = this.#state;
    const result = Math.imul(rotateLeft(Math.imul(state[1], 5), 7), 9) >>> 0;
    const shifted = state[1] << 9;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotateLeft(state[3], 11);
    return result / 2 ** 32;
  }
}

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

function splitmix32(value: number): number {
  let mixed = value | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}
