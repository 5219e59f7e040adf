/**
 * Time zones by their IANA names, from the platform's own tables (Intl). A zone says where a local day or hour
 * begins; it never changes what is counted. Every answer is a whole quarter hour, which is what rollups are cut by, as
 * every offset in use is. Where one was not (Kiritimati until 1979), it is the next.
 */
import { DAY_MS, HOUR_MS, MINUTE_MS, QUARTER_HOUR_MS, quarterHourOf, SECOND_MS } from "../clock.ts";

export interface Zone {
  readonly name: string;
  /** What local time is ahead of UTC at this moment, ms. */
  readonly offsetAt: (ms: number) => number;
}

export const UTC: Zone = { name: "UTC", offsetAt: () => 0 };

/** Making a format costs far more than using it. */
const formats = new Map<string, Intl.DateTimeFormat>();
const MAX_FORMATS = 100;
/** Names, not offsets: an offset has no summer time, and may cut anywhere. */
const named = /^[A-Za-z][\w+-]*(?:\/[\w+-]+){0,2}$/;

/** The zone of a name such as `Asia/Kolkata`; undefined when there is none. */
export function zoneOf(name: string): Zone | undefined {
  if (name === "UTC") return UTC;
  const format = formatOf(name);
  if (!format) return undefined;
  return { name: format.resolvedOptions().timeZone, offsetAt: (ms) => offsetIn(format, ms) };
}

function formatOf(name: string): Intl.DateTimeFormat | undefined {
  if (name.length > 64 || !named.test(name)) return undefined;
  let format = formats.get(name);
  if (!format) {
    try {
      format = new Intl.DateTimeFormat("en-US", { timeZone: name, timeZoneName: "longOffset" });
    } catch {
      return undefined; // RangeError: no such zone.
    }
    if (formats.size >= MAX_FORMATS) formats.clear();
    formats.set(name, format);
  }
  return format;
}

/** From "..., GMT+05:30"; GMT alone is 0, and seconds were in use before standard time. */
function offsetIn(format: Intl.DateTimeFormat, ms: number): number {
  const [, sign, hours, minutes, seconds] =
    /GMT([+-])(\d\d):(\d\d)(?::(\d\d))?$/.exec(format.format(ms)) ?? [];
  if (!sign) return 0;
  const size = Number(hours) * HOUR_MS + Number(minutes) * MINUTE_MS + Number(seconds ?? 0) * SECOND_MS;
  return sign === "-" ? -size : size;
}

/** The local day of a moment, as days since 1970-01-01. */
export const dayAt = (zone: Zone, ms: number): number => Math.floor((ms + zone.offsetAt(ms)) / DAY_MS);

/**
 * Where a local day begins. Midnight may be missing (the clock goes forward at 0:00), and a whole day may be (Samoa
 * had no 30 December 2011): then it is the first moment after.
 */
export function startOfDay(zone: Zone, day: number): number {
  const midnight = day * DAY_MS;
  const likely = midnight - zone.offsetAt(midnight - zone.offsetAt(midnight));
  if (isStart(zone, likely, day)) return likely;
  // The first quarter hour of that day or a later one. Local days rise with time, but for minutes around some changes.
  let before = quarterHourOf(midnight) - DAY_MS;
  let from = before + 2 * DAY_MS;
  while (from - before > QUARTER_HOUR_MS) {
    const middle = quarterHourOf((before + from) / 2);
    if (dayAt(zone, middle) >= day) from = middle;
    else before = middle;
  }
  return from;
}

const isStart = (zone: Zone, ms: number, day: number): boolean =>
  ms % QUARTER_HOUR_MS === 0 && dayAt(zone, ms) === day && dayAt(zone, ms - QUARTER_HOUR_MS) < day;

/**
 * Where the local hour after this moment begins: at the next full hour of the local clock, or where the clock is
 * changed by less (Lord Howe's summer time is half an hour).
 */
export function nextHour(zone: Zone, ms: number): number {
  const offset = zone.offsetAt(ms);
  const next = Math.floor((ms + offset) / HOUR_MS) * HOUR_MS + HOUR_MS - offset;
  for (let at = quarterHourOf(ms) + QUARTER_HOUR_MS; at < next; at += QUARTER_HOUR_MS) {
    if (zone.offsetAt(at) !== offset) return at;
  }
  return Math.ceil(next / QUARTER_HOUR_MS) * QUARTER_HOUR_MS;
}
