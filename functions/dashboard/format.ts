/**
 * How the dashboard writes figures. Money comes as nanodollars in text and never passes through a float; an unknown
 * value is a dash and never zero.
 */

export const UNKNOWN = "—";
const NANO = 1_000_000_000n;

type Nano = string | bigint | null;

/** Dollars with a fixed number of digits, half up. */
function dollars(nano: bigint, digits: number): string {
  const unit = 10n ** BigInt(9 - digits);
  const size = nano < 0n ? -nano : nano;
  const rounded = ((size + unit / 2n) / unit) * unit;
  const whole = (rounded / NANO).toString().replace(/\B(?=(\d{3})+$)/g, ",");
  const fraction = (rounded % NANO).toString().padStart(9, "0").slice(0, digits);
  return `${nano < 0n && rounded > 0n ? "−" : ""}$${whole}.${fraction}`;
}

/** A total: two digits. */
export const usd = (nano: Nano): string => (nano === null ? UNKNOWN : dollars(BigInt(nano), 2));
/** What is held for requests that run: four digits. */
export const usdHeld = (nano: Nano): string => (nano === null ? UNKNOWN : dollars(BigInt(nano), 4));
/** Exactly: nine digits. */
export const usdExact = (nano: Nano): string => (nano === null ? UNKNOWN : dollars(BigInt(nano), 9));

/** What one request cost: six digits, nine where six would show zero; free is $0.00. */
export function usdRequest(nano: Nano): string {
  if (nano === null) return UNKNOWN;
  const value = BigInt(nano);
  if (value === 0n) return "$0.00";
  const size = value < 0n ? -value : value;
  return dollars(value, size < 500n ? 9 : 6);
}

/** A price a million tokens: three digits or as many as it has. */
export function usdRate(nano: Nano): string {
  const exact = usdExact(nano);
  return exact.replace(/(\.\d{3}\d*?)0+$/, "$1");
}

/** What somebody set: two digits or as many as it has. */
export const usdLimit = (nano: Nano): string => usdExact(nano).replace(/(\.\d\d\d*?)0+$/, "$1");

/** Where the figure begins that stands out: what is before are a small amount's leading zeros. */
export const leadingZeros = (text: string): number => /^−?\$0\.0*(?=[1-9])/.exec(text)?.[0].length ?? 0;

/** Exact lists of whole numbers, also beyond 2^53. */
export const count = (value: number | string | null): string =>
  value === null ? UNKNOWN : String(value).replace(/\B(?=(\d{3})+$)/g, ",");

/** Three digits and k, M or B. */
export function tokens(value: number | string | null): string {
  if (value === null) return UNKNOWN;
  let number = Number(value);
  if (number < 1_000) return String(number);
  for (const unit of ["k", "M", "B"]) {
    number /= 1_000;
    const text = number.toPrecision(3);
    if (Number(text) < 1_000 || unit === "B")
      return `${Number(text) < 1_000 ? text : Math.round(number)} ${unit}`;
  }
  return UNKNOWN;
}

export interface Change {
  readonly text: string;
  readonly direction: "up" | "down" | "same" | "none";
}

/** Against the period before: an arrow and one digit. Nothing to compare with is a dash. */
export function change(now: Nano, before: Nano): Change {
  if (now === null || before === null || BigInt(before) === 0n) return { text: UNKNOWN, direction: "none" };
  const [a, b] = [BigInt(now), BigInt(before)];
  const tenths = Number(((a - b) * 10_000n) / b) / 10;
  const rounded = Math.round(tenths) / 10;
  if (rounded === 0) return { text: "→ 0.0 %", direction: "same" };
  const direction = rounded > 0 ? "up" : "down";
  return { text: `${direction === "up" ? "↑" : "↓"} ${Math.abs(rounded).toFixed(1)} %`, direction };
}

/** `0.04 ms`, `4.1 ms`, `688 ms`, `1.09 s`, `17.97 s`, `1 m 04 s`. */
export function duration(ms: number | null): string {
  if (ms === null) return UNKNOWN;
  if (ms < 0.995) return `${ms.toFixed(2)} ms`;
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${ms.toFixed(0)} ms`;
  if (ms < 59_995) return `${(ms / 1_000).toFixed(2)} s`;
  const seconds = Math.round(ms / 1_000);
  return `${Math.floor(seconds / 60)} m ${String(seconds % 60).padStart(2, "0")} s`;
}

export const speed = (perSecond: number | null): string =>
  perSecond === null ? UNKNOWN : `${perSecond.toFixed(1)} tokens/s`;

/** A share from 0 to 1. */
export const share = (value: number | null, digits = 1): string =>
  value === null ? UNKNOWN : `${(value * 100).toFixed(digits)} %`;

/** A part of a whole, with two digits: errors. A share of nothing is a dash. */
export const errorShare = (part: number | string, whole: number | string): string =>
  Number(whole) === 0 ? UNKNOWN : share(Number(part) / Number(whole), 2);

const formats = new Map<string, Intl.DateTimeFormat>();
function inZone(iso: string, zone: string, options: Intl.DateTimeFormatOptions): string {
  const name = `${zone} ${JSON.stringify(options)}`;
  let format = formats.get(name);
  if (!format) formats.set(name, (format = new Intl.DateTimeFormat("en-GB", { ...options, timeZone: zone })));
  return format.format(new Date(iso));
}

/** `14:31:45` */
export const clock = (iso: string | null, zone: string): string =>
  iso === null
    ? UNKNOWN
    : inZone(iso, zone, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
/** `26 Oct` */
export const day = (iso: string, zone: string): string =>
  inZone(iso, zone, { day: "numeric", month: "short" });
/** `26 Oct 2026` */
export const date = (iso: string, zone: string): string =>
  inZone(iso, zone, { day: "numeric", month: "short", year: "numeric" });
/** `26 Oct 14:31` */
export const moment = (iso: string | null, zone: string): string =>
  iso === null
    ? UNKNOWN
    : `${day(iso, zone)} ${inZone(iso, zone, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })}`;

/** `3 min ago` */
export function ago(iso: string | null, now: number): string {
  if (iso === null) return "never";
  const seconds = Math.max(0, Math.round((now - Date.parse(iso)) / 1_000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h ago`;
  return `${Math.floor(seconds / 86_400)} days ago`;
}

/** On hover: UTC, the zone, and how long ago. */
export const fullTime = (iso: string, zone: string, now: number): string =>
  `${iso} · ${moment(iso, zone)} ${zone} · ${ago(iso, now)}`;

/** A cell of CSV: what a spreadsheet would run is made text. */
export function csvCell(value: string): string {
  const safe = /^[=+\-@\t\r]/.test(value) && !/^-?\d+(\.\d+)?$/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(safe) || safe !== value ? `"${safe.replaceAll('"', '""')}"` : safe;
}
