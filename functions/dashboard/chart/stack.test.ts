import { expect, test } from "vitest";
import { stacked } from "./stack.ts";

test("each layer stands on those before it", () => {
  expect(
    stacked([
      [1, 0, null],
      [2, 3, 0],
    ]),
  ).toEqual([
    [1, null, null],
    [3, 3, null],
  ]);
});
