/** Where the steps of a request stand on its timeline. */

export interface Span {
  readonly name: string;
  readonly attempt: number | null;
  readonly start_ms: number;
  readonly end_ms: number;
  readonly outcome: string | null;
}

export interface Scale {
  /** 0 to 1. */
  readonly at: (ms: number) => number;
  readonly ticks: readonly number[];
  readonly isCompressed: boolean;
}

/** How much of the width is before the first token where decoding takes far longer. */
const BEFORE = 0.62;
const FAR_LONGER = 2.5;

/** Decoding may take a hundred times as long as all before it: after the first token the scale is compressed then. */
export function scaleOf(spans: readonly Span[]): Scale {
  const end = Math.max(1, ...spans.map(({ end_ms }) => end_ms));
  const first = spans.find(({ name }) => name === "first_token")?.start_ms ?? 0;
  const isCompressed = first > 0 && end > FAR_LONGER * first;
  const even = isCompressed ? first : end;
  const at = (ms: number) => {
    if (!isCompressed) return ms / end;
    return ms <= first ? (ms / first) * BEFORE : BEFORE + ((ms - first) / (end - first)) * (1 - BEFORE);
  };
  const step = roundStep(even / 3.2);
  const inner = Array.from({ length: 8 }, (_, i) => (i + 1) * step).filter((ms) => ms < even - step * 0.55);
  return { at, ticks: [0, ...inner, ...(isCompressed ? [first] : []), end], isCompressed };
}

function roundStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 0.001)));
  return power * ([1, 2, 2.5, 5].find((factor) => factor * power >= rough) ?? 10);
}
