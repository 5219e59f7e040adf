import { expect, it } from "vitest";
import { outagesOf } from "./outages.ts";

const window = { from: 1_000, to: 2_000 };
const event = (ms: number, kind: string, backend = "b") => {
  return { at: new Date(ms).toISOString(), region: "r", backend, kind: `backend.${kind}`, message: "" };
};

it("is down from each event that says so until it recovered", () => {
  const events = [event(1_900, "down"), event(1_700, "recovered"), event(1_500, "down")];
  expect(outagesOf([event(1_950, "down", "other"), ...events], "b", window, true)).toEqual({
    down: [
      { from: 1_500, to: 1_700 },
      { from: 1_900, to: 2_000 },
    ],
    knownFrom: 1_000,
  });
});

it("was down from the beginning where it recovered from what was before", () => {
  const events = [event(1_200, "recovered"), event(500, "down")];
  expect(outagesOf(events, "b", window, false).down).toEqual([{ from: 1_000, to: 1_200 }]);
  expect(outagesOf([event(500, "down")], "b", window, true).down).toEqual([window]);
  expect(outagesOf([], "b", window, true).down).toEqual([]);
});

it("says nothing of what is before the oldest of a list that may be cut off", () => {
  const events = Array.from({ length: 100 }, (_, i) => event(1_800 - i, "down", "other"));
  expect(outagesOf(events, "b", window, false)).toEqual({ down: [], knownFrom: 1_701 });
});
