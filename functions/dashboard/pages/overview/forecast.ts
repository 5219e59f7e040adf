/** What a budget's period will have cost at its end, if it goes on as it has so far. Periods are UTC's. */
export type Period = "day" | "month";

/** Before this much of a period has passed, its rate says nothing: in thousandths. */
const LEAST = 20n;
const DAY_MS = 86_400_000;

/** @param resetsAt when the period ends, ms. @returns nanodollars; null: too early to tell. */
export function forecast(spent: bigint, resetsAt: number, period: Period, now: number): bigint | null {
  const end = new Date(resetsAt);
  const start =
    period === "day" ? resetsAt - DAY_MS : Date.UTC(end.getUTCFullYear(), end.getUTCMonth() - 1, 1);
  const [passed, whole] = [BigInt(Math.floor(now - start)), BigInt(resetsAt - start)];
  if (passed * 1_000n < whole * LEAST || passed > whole) return null;
  return (spent * whole) / passed;
}
