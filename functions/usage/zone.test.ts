/** Days and hours of real zones: expectations are from the zones' published histories. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { random } from "../../test/money/random.ts";
import { DAY_MS, HOUR_MS, QUARTER_HOUR_MS } from "../clock.ts";
import { bucketStarts } from "./buckets.ts";
import { dayAt, startOfDay, UTC, zoneOf } from "./zone.ts";

const utc = (text: string) => Date.parse(`${text}Z`);
const texts = (starts: readonly number[] | undefined) =>
  starts!.map((ms) => new Date(ms).toISOString().slice(0, 16));
const days = (zone: string, from: string, to: string) =>
  texts(bucketStarts(utc(from), utc(to), "day", zoneOf(zone)!));
const hours = (zone: string, from: string, to: string) =>
  texts(bucketStarts(utc(from), utc(to), "hour", zoneOf(zone)!));

const ZONES = [
  "UTC",
  "Europe/Vienna",
  "America/New_York",
  "America/St_Johns",
  "America/Santiago",
  "America/Havana",
  "Asia/Kolkata",
  "Asia/Kathmandu",
  "Asia/Beirut",
  "Africa/Casablanca",
  "Australia/Lord_Howe",
  "Pacific/Chatham",
  "Pacific/Apia",
  "Pacific/Kiritimati",
  "Pacific/Pago_Pago",
  "Antarctica/Troll",
];

describe("a zone", () => {
  it("is known by its IANA name, and by nothing else", () => {
    expect(zoneOf("Europe/Vienna")!.offsetAt(utc("2026-01-01T00:00"))).toBe(HOUR_MS);
    expect(zoneOf("Europe/Vienna")!.offsetAt(utc("2026-07-01T00:00"))).toBe(2 * HOUR_MS);
    expect(zoneOf("america/new_york")!.name).toBe("America/New_York");
    expect(zoneOf("UTC")).toBe(UTC);
    for (const name of [
      "",
      "Vienna",
      "+05:30",
      "UTC+1",
      "Europe/Vienna ",
      "a/b/c/d",
      "x".repeat(100),
      "../etc",
    ])
      expect({ name, zone: zoneOf(name) }).toEqual({ name, zone: undefined });
  });

  it.each([
    ["Europe/Vienna", "2026-03-29", 23],
    ["Europe/Vienna", "2026-10-25", 25],
    ["Australia/Lord_Howe", "2026-04-05", 24.5],
    ["Australia/Lord_Howe", "2026-10-04", 23.5],
    ["Antarctica/Troll", "2026-03-29", 22],
    // Midnight itself is missing: the clock goes from 24:00 to 1:00.
    ["America/Santiago", "2026-09-06", 23],
    ["America/Santiago", "2026-04-04", 25],
    ["Asia/Beirut", "2026-03-29", 23],
    ["Asia/Kolkata", "2026-03-29", 24],
  ])("%s has a day, %s, of %d hours", (name, date, expected) => {
    const zone = zoneOf(name)!;
    const day = Date.parse(date) / DAY_MS;
    expect((startOfDay(zone, day + 1) - startOfDay(zone, day)) / HOUR_MS).toBe(expected);
  });

  it("may lack a day, which then is of no length", () => {
    const zone = zoneOf("Pacific/Apia")!;
    const missing = Date.parse("2011-12-30") / DAY_MS;
    expect(startOfDay(zone, missing)).toBe(startOfDay(zone, missing + 1));
    expect(days("Pacific/Apia", "2011-12-29T10:00", "2012-01-01T10:00")).toEqual([
      "2011-12-29T10:00",
      "2011-12-30T10:00",
      "2011-12-31T10:00",
    ]);
  });

  it("begins every day where its date turns, at a whole quarter hour, for years on end", () => {
    const day = fc.integer({ min: 365 * 5, max: 365 * 80 });
    fc.assert(
      fc.property(fc.constantFrom(...ZONES), day, (name, day) => {
        const zone = zoneOf(name)!;
        const start = startOfDay(zone, day);
        expect(Math.abs(start % QUARTER_HOUR_MS)).toBe(0);
        expect(dayAt(zone, start)).toBeGreaterThanOrEqual(day);
        expect(dayAt(zone, start - QUARTER_HOUR_MS)).toBeLessThan(day);
      }),
      random("days", 500),
    );
  });
});

describe("buckets", () => {
  it("are the zone's days, of 23 and 25 hours where the clock changes", () => {
    expect(days("Europe/Vienna", "2026-03-27T23:00", "2026-03-30T22:00")).toEqual([
      "2026-03-27T23:00",
      "2026-03-28T23:00",
      "2026-03-29T22:00",
    ]);
    expect(days("Asia/Kathmandu", "2026-05-31T12:00", "2026-06-02T00:00")).toEqual([
      "2026-05-31T12:00",
      "2026-05-31T18:15",
      "2026-06-01T18:15",
    ]);
  });

  it("are the zone's hours: at :15, :30 or :45, both of the hour that comes twice, and a half one where that is", () => {
    expect(hours("Asia/Kolkata", "2026-05-31T12:00", "2026-05-31T14:00")).toEqual([
      "2026-05-31T12:00",
      "2026-05-31T12:30",
      "2026-05-31T13:30",
    ]);
    expect(hours("Europe/Vienna", "2026-10-25T00:00", "2026-10-25T03:00")).toEqual([
      "2026-10-25T00:00",
      "2026-10-25T01:00",
      "2026-10-25T02:00",
    ]);
    // 1:30 to 2:00 comes twice: the clock went back by half an hour at 15:00 UTC.
    expect(hours("Australia/Lord_Howe", "2026-04-04T14:00", "2026-04-04T17:00")).toEqual([
      "2026-04-04T14:00",
      "2026-04-04T15:00",
      "2026-04-04T15:30",
      "2026-04-04T16:30",
    ]);
  });

  it("go on where an offset was no whole quarter hour: 10:40 behind, in 1974", () => {
    expect(hours("Pacific/Kiritimati", "1974-12-31T00:00", "1974-12-31T02:00")).toEqual([
      "1974-12-31T00:00",
      "1974-12-31T00:45",
      "1974-12-31T01:45",
    ]);
  });

  it("cover every range without a gap or a double, each within one hour or day of the zone", () => {
    const quarter = fc.integer({ min: 96 * 365 * 5, max: 96 * 365 * 60 }).map((n) => n * QUARTER_HOUR_MS);
    const size = fc.constantFrom(["quarter_hour", 1] as const, ["hour", 4] as const, ["day", 100] as const);
    fc.assert(
      fc.property(
        fc.constantFrom(...ZONES),
        quarter,
        fc.nat({ max: 390 }),
        size,
        (name, from, n, [bucket, quarters]) => {
          const zone = zoneOf(name)!;
          const to = from + Math.floor((n * quarters) / 2) * QUARTER_HOUR_MS;
          const starts = bucketStarts(from, to, bucket, zone)!;
          expect(starts.length > 0).toBe(to > from);
          if (to > from) expect(starts[0]).toBe(from);
          for (const [i, start] of starts.entries()) {
            const end = starts[i + 1] ?? to;
            expect(end).toBeGreaterThan(start);
            expect(Math.abs(start % QUARTER_HOUR_MS)).toBe(0);
            if (bucket === "hour") expect(end - start).toBeLessThanOrEqual(HOUR_MS);
            if (bucket === "day") expect(end - start).toBeLessThanOrEqual(26 * HOUR_MS);
            if (bucket === "day") expect(dayAt(zone, end - 1)).toBeLessThanOrEqual(dayAt(zone, start) + 1);
          }
        },
      ),
      random("buckets", 200),
    );
  });

  it("are refused beyond four hundred", () => {
    expect(bucketStarts(0, 400 * HOUR_MS, "hour", UTC)).toHaveLength(400);
    expect(bucketStarts(0, 400 * HOUR_MS + QUARTER_HOUR_MS, "hour", UTC)).toBeUndefined();
  });
});
