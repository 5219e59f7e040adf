import { describe, expect, it } from "vitest";
import { Random } from "../sampling/random.ts";
import { StopStrings } from "./stop-strings.ts";

function run(stops: string[], pieces: string[]): { text: string; found: boolean; outputs: string[] } {
  const search = new StopStrings(stops);
  const outputs = pieces.map((piece) => search.push(piece));
  const rest = search.end();
  return { text: outputs.join("") + rest, found: search.found, outputs };
}

it("gives text through at once where there are no stop strings", () => {
  expect(run([], ["a", "bc"]).outputs).toEqual(["a", "bc"]);
});

it("holds back only what may become a stop string", () => {
  expect(run(["END"], ["xE", "N", "x", "EN"]).outputs).toEqual(["x", "", "ENx", ""]);
  expect(run(["END"], ["xE", "N", "x", "EN"]).text).toBe("xENxEN");
});

it("leaves out the stop string and everything after it", () => {
  expect(run(["END"], ["abE", "NDxyz", "more"])).toMatchObject({ text: "ab", found: true });
});

it("stops at the string that is complete first, the longest of those", () => {
  expect(run(["bcd", "c"], ["abcd"]).text).toBe("ab");
  expect(run(["d", "bcd"], ["abcd"]).text).toBe("a");
});

it("finds a string that overlaps its own beginning", () => {
  expect(run(["aab"], ["aaab"]).text).toBe("a");
  expect(run(["abab"], ["aba", "ab", "ab"])).toMatchObject({ text: "aba", found: true });
});

describe("against a plain search", () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  it(`gives the same text however it is cut (seed ${seed})`, () => {
    const random = new Random(seed);
    const word = (longest: number) =>
      Array.from(
        { length: 1 + Math.floor(random.next() * longest) },
        () => "ab"[Math.floor(random.next() * 2)],
      ).join("");
    for (let round = 0; round < 2_000; round++) {
      const stops = Array.from({ length: 1 + Math.floor(random.next() * 4) }, () => word(5));
      const pieces = Array.from({ length: 8 }, () => word(4));
      const whole = pieces.join("");
      const ends = stops
        .map((stop) => whole.indexOf(stop) + stop.length)
        .filter((end, i) => end >= stops[i].length);
      const end = Math.min(...ends);
      const longest = Math.max(
        ...stops.filter((stop) => whole.slice(0, end).endsWith(stop)).map((stop) => stop.length),
      );
      const expected = ends.length > 0 ? whole.slice(0, end - longest) : whole;
      expect(run(stops, pieces).text, `${stops} in ${pieces}`).toBe(expected);
    }
  });
});
