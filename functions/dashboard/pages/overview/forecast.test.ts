import { expect, it } from "vitest";
import { forecast } from "./forecast.ts";

const at = (text: string) => Date.parse(`${text}Z`);

it("goes on as it has so far, to the nanodollar", () => {
  expect(forecast(3n, at("2026-11-25T00:00"), "day", at("2026-11-24T08:00"))).toBe(9n);
  // Ten of November's thirty days.
  expect(forecast(10_000_000_001n, at("2026-12-01T00:00"), "month", at("2026-11-11T00:00"))).toBe(
    30_000_000_003n,
  );
  expect(forecast(1n, at("2027-01-01T00:00"), "month", at("2026-12-31T23:59:59"))).toBe(1n);
});

it("does not tell from a period's first minutes, or after it", () => {
  expect(forecast(3n, at("2026-11-25T00:00"), "day", at("2026-11-24T00:20"))).toBeNull();
  expect(forecast(3n, at("2026-11-25T00:00"), "day", at("2026-11-25T00:01"))).toBeNull();
});
