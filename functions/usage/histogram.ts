/**
 * A mergeable histogram of positive numbers, for percentiles over any span of rollups: percentiles do not add,
 * counts do. 105 logarithmic buckets, five an octave, from 0.5 to 2^20: milliseconds up to 17 minutes, and tokens
 * a second. Stored sparsely as one blob: for each bucket that is not empty, in rising order, its index as a byte
 * and its count as a base-128 varint. The same values give the same bytes in whatever order they came.
 *
 * Error: `quantile` answers the geometric middle of the bucket of the value asked for, so it is off by at most
 * 2^(1/10) - 1 = 7.2 % for values in the range. What is outside counts in the first or the last bucket.
 */
export type Histogram = Uint8Array;

const BUCKETS_AN_OCTAVE = 5;
const LOWEST = 0.5;
const BUCKETS = 105;

/** The bound on `quantile`'s relative error. */
export const RELATIVE_ERROR = 2 ** (1 / (2 * BUCKETS_AN_OCTAVE)) - 1;
/** The range in which it holds. */
export const RANGE = { from: LOWEST, to: LOWEST * 2 ** (BUCKETS / BUCKETS_AN_OCTAVE) } as const;

export const EMPTY: Histogram = new Uint8Array();

/** A histogram of these values. Throws on one that is negative or not finite: that is a bug of the caller. */
export function histogramOf(values: readonly number[]): Histogram {
  const counts = new Map<number, number>();
  for (const value of values) {
    const bucket = bucketOf(value);
    counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
  }
  return encode(counts);
}

export const add = (histogram: Histogram, value: number): Histogram => merge(histogram, histogramOf([value]));

/** The histogram of both sides' values. Commutative and associative; EMPTY is neutral. */
export function merge(a: Histogram, b: Histogram): Histogram {
  const counts = decode(a);
  for (const [bucket, count] of decode(b)) counts.set(bucket, (counts.get(bucket) ?? 0) + count);
  return encode(counts);
}

export function countOf(histogram: Histogram): number {
  let sum = 0;
  for (const count of decode(histogram).values()) sum += count;
  return sum;
}

/** The value that a share `q` (0 to 1) of all values does not exceed; undefined for an empty histogram. */
export function quantile(histogram: Histogram, q: number): number | undefined {
  const rank = Math.max(1, Math.ceil(Math.min(1, Math.max(0, q)) * countOf(histogram)));
  let seen = 0;
  for (const [bucket, count] of decode(histogram)) {
    seen += count;
    if (seen >= rank) return LOWEST * 2 ** ((bucket + 0.5) / BUCKETS_AN_OCTAVE);
  }
  return undefined;
}

/** Counts by bucket: what many histograms are added into. */
export type Counts = Float64Array;

export const noCounts = (): Counts => new Float64Array(BUCKETS);

export function addCounts(counts: Counts, more: Counts): void {
  for (let bucket = 0; bucket < BUCKETS; bucket++) counts[bucket]! += more[bucket]!;
}

/**
 * Adds histograms that stand one after another as hex: each is a list of (bucket, count), and so are all of them.
 * Throws on what encodes none.
 */
export function addHex(counts: Counts, hex: string): void {
  const end = hex.length;
  for (let at = 0; at < end; ) {
    const bucket = byteAt(hex, at);
    at += 2;
    let count = 0;
    for (let unit = 1; ; unit *= 128) {
      if (at >= end) throw new RangeError("a histogram ends in the middle of a count");
      const byte = byteAt(hex, at);
      at += 2;
      count += (byte % 128) * unit;
      if (byte < 128) break;
    }
    if (!(bucket < BUCKETS)) throw new RangeError("these bytes are no histogram");
    counts[bucket]! += count;
  }
}

/** As `quantile`; null where nothing was counted. */
export function quantileOf(counts: Counts, q: number): number | null {
  let all = 0;
  for (const count of counts) all += count;
  const rank = Math.max(1, Math.ceil(Math.min(1, Math.max(0, q)) * all));
  let seen = 0;
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    seen += counts[bucket]!;
    if (seen >= rank) return LOWEST * 2 ** ((bucket + 0.5) / BUCKETS_AN_OCTAVE);
  }
  return null;
}

/** Two hex digits, upper case (SQLite's) or lower. */
const byteAt = (hex: string, at: number): number =>
  16 * digit(hex.charCodeAt(at)) + digit(hex.charCodeAt(at + 1));
const digit = (code: number): number => (code < 58 ? code - 48 : (code & 31) + 9);

function bucketOf(value: number): number {
  if (!Number.isFinite(value) || value < 0) throw new RangeError(`not a value of a histogram: ${value}`);
  const bucket = Math.floor(BUCKETS_AN_OCTAVE * Math.log2(value / LOWEST));
  return Math.min(BUCKETS - 1, Math.max(0, bucket));
}

function encode(counts: ReadonlyMap<number, number>): Histogram {
  const bytes: number[] = [];
  for (const [bucket, count] of [...counts].sort(([a], [b]) => a - b)) {
    bytes.push(bucket);
    let rest = count;
    for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push(128 + (rest % 128));
    bytes.push(rest);
  }
  return Uint8Array.from(bytes);
}

/** In rising order of buckets, as it was encoded. Throws on bytes that encode no histogram. */
function decode(histogram: Histogram): Map<number, number> {
  const counts = new Map<number, number>();
  let before = -1;
  for (let at = 0; at < histogram.length; ) {
    const bucket = histogram[at++]!;
    let count = 0;
    for (let unit = 1; ; unit *= 128) {
      const byte = histogram[at++];
      if (byte === undefined) throw new RangeError("a histogram ends in the middle of a count");
      count += (byte % 128) * unit;
      if (byte < 128) break;
    }
    if (bucket <= before || bucket >= BUCKETS || count === 0 || !Number.isSafeInteger(count))
      throw new RangeError("these bytes are no histogram");
    counts.set(bucket, count);
    before = bucket;
  }
  return counts;
}
