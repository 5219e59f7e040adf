import { expect, it } from "vitest";
import { Random } from "../sampling/random.ts";
import { linear } from "./linear.ts";

const seed = Math.floor(Math.random() * 2 ** 31);

function randomArray(random: Random, length: number): Float32Array {
  return Float32Array.from({ length }, () => random.next() * 2 - 1);
}

it(`is the matrix product, for every remainder of tokens and rows (seed ${seed})`, () => {
  const random = new Random(seed);
  for (let tokens = 1; tokens <= 9; tokens++) {
    for (let rows = 1; rows <= 9; rows++) {
      const columns = 1 + Math.floor(random.next() * 20);
      const x = randomArray(random, tokens * columns);
      const weight = randomArray(random, rows * columns);
      const out = new Float32Array(tokens * rows);
      linear(out, x, weight, tokens, columns, rows);
      for (let token = 0; token < tokens; token++) {
        for (let row = 0; row < rows; row++) {
          let sum = 0;
          for (let i = 0; i < columns; i++) sum += x[token * columns + i] * weight[row * columns + i];
          // To the bit: a token's result must not depend on the tokens that were computed with it.
          expect(out[token * rows + row]).toBe(Math.fround(sum));
        }
      }
    }
  }
});
