import { expect, it } from "vitest";
import { type Span, scaleOf } from "./scale.ts";

const span = (name: string, start_ms: number, end_ms: number): Span => {
  return { name, attempt: 1, start_ms, end_ms, outcome: null };
};

it("is even where decoding is short", () => {
  const { at, ticks, isCompressed } = scaleOf([span("first_token", 240, 240), span("decode", 240, 302)]);
  expect(isCompressed).toBe(false);
  expect([at(0), at(151), at(302)]).toEqual([0, 0.5, 1]);
  expect(ticks).toEqual([0, 100, 200, 302]);
});

it("gives what is before the first token most of the room where decoding is long", () => {
  const { at, ticks, isCompressed } = scaleOf([
    span("attempt", 0, 1_000),
    span("first_token", 1_000, 1_000),
    span("decode", 1_000, 18_000),
  ]);
  expect(isCompressed).toBe(true);
  expect([at(1_000), at(18_000)]).toEqual([0.62, 1]);
  expect(ticks).toEqual([0, 500, 1_000, 18_000]);
});

it("has an end also where nothing was kept, or no token came", () => {
  expect(scaleOf([]).at(1)).toBe(1);
  expect(scaleOf([span("attempt", 0, 40)]).isCompressed).toBe(false);
});
