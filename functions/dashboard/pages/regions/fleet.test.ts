import { expect, it } from "vitest";
import { type Backend, illSince, type Region } from "./fleet.ts";

const backend = (state: string, since: string | null) => ({ id: `b-${state}`, state, since }) as Backend;
const region = (id: string, state: string, backends: Backend[] | null) => ({ id, state, backends }) as Region;
const event = (at: string, backend: string | null, kind: string) => {
  return { at: `2026-11-24T${at}:00Z`, region: "eu", backend, kind, message: "" };
};
const backends = [backend("up", "2026-11-24T09:00:00Z"), backend("resting", "2026-11-24T14:31:00Z")];
const regions = [region("us", "healthy", backends), region("eu", "degraded", backends)];

it("is ill since the event that told of it, which the pool may have forgotten", () => {
  expect(illSince(regions, [event("14:19", "b-resting", "backend.down")])).toBe("2026-11-24T14:19:00Z");
  expect(illSince([region("eu", "down", null)], [event("14:20", null, "region.down")])).toBe(
    "2026-11-24T14:20:00Z",
  );
});

it("is ill since its pool says so where it has recovered from what was told", () => {
  const events = [
    event("14:25", "b-resting", "backend.recovered"),
    event("14:19", "b-resting", "backend.down"),
  ];
  expect(illSince(regions, events)).toBe("2026-11-24T14:31:00Z");
});

it("is ill since nobody knows when, or not at all", () => {
  expect(illSince([region("eu", "down", null)], [])).toBeUndefined();
  expect(illSince([region("eu", "healthy", backends)], [])).toBeUndefined();
});
