/** Where labels stand beside a chart: as near to their points as they can without covering each other. */
export function spread(wanted: readonly number[], gap: number, first: number, last: number): number[] {
  const order = wanted.map((at, index) => ({ at, index })).sort((a, b) => a.at - b.at || a.index - b.index);
  const placed: number[] = [];
  let lowest = first - gap;
  for (const { at, index } of order) {
    lowest = Math.max(at, lowest + gap);
    placed[index] = lowest;
  }
  // What ran out below goes up again, pushing what is above it.
  let highest = last;
  for (const { index } of order.toReversed()) {
    placed[index] = Math.max(first, Math.min(placed[index]!, highest));
    highest = placed[index]! - gap;
  }
  return placed;
}
