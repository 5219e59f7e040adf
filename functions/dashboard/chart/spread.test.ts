import { expect, test } from "vitest";
import { spread } from "./spread.ts";

test("labels that have room stay where they are", () => {
  expect(spread([100, 20, 60], 18, 0, 200)).toEqual([100, 20, 60]);
});

test("labels that would cover each other move apart, in their order", () => {
  expect(spread([50, 50, 52], 18, 0, 200)).toEqual([50, 68, 86]);
});

test("no label stands above the first place", () => {
  expect(spread([0, 10], 18, 20, 200)).toEqual([20, 38]);
});

test("labels at the lower end move up", () => {
  expect(spread([200, 195], 18, 0, 200)).toEqual([200, 182]);
});
