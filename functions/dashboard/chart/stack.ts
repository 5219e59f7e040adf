/** Sums from the bottom up: what each layer of a stack reaches to. A bucket in which nothing lies has no bar. */
export function stacked(layers: readonly (readonly (number | null)[])[]): (number | null)[][] {
  const reached: number[] = [];
  return layers.map((layer) =>
    layer.map((value, bucket) => {
      reached[bucket] = (reached[bucket] ?? 0) + (value ?? 0);
      return reached[bucket] || null;
    }),
  );
}
