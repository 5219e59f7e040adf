/** Keys as the API shows them, and what of a key deserves a second look. */

export const SCOPES = ["inference", "usage", "manage"] as const;
export type Scope = (typeof SCOPES)[number];

export interface Budget {
  readonly limit_nanodollars: string;
  readonly spent_nanodollars: string;
  readonly held_nanodollars: string;
  readonly resets_at: string;
}

export interface Key {
  readonly id: string;
  readonly name: string;
  readonly hint: string;
  readonly scopes: readonly Scope[];
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly revoked_at: string | null;
  readonly last_used_at: string | null;
  readonly state: "active" | "expiring" | "expired" | "revoked";
  readonly successor: string | null;
  readonly requests_per_minute: number | null;
  readonly tokens_per_minute: number | null;
  readonly residency: readonly string[] | null;
  readonly budgets: { readonly day: Budget | null; readonly month: Budget | null };
}

export interface MadeKey extends Key {
  /** The key itself, once. */
  readonly key: string;
}

const DAY_MS = 86_400_000;
const UNUSED_MS = 90 * DAY_MS;
/** How long before its end a key that nobody rotated is told of. */
const SOON_MS = 14 * DAY_MS;

export const hasEnded = ({ state }: Key): boolean => state === "expired" || state === "revoked";

export type Risk = "No limit" | "No expiry" | "Unused for 90 days";

/** What somebody should think about. A key that has ended is no risk, and one that cannot spend needs no limit. */
export function risksOf(key: Key, now: number): Risk[] {
  if (hasEnded(key)) return [];
  const risks: Risk[] = [];
  if (key.scopes.includes("inference") && !key.budgets.day && !key.budgets.month) risks.push("No limit");
  if (key.expires_at === null) risks.push("No expiry");
  if (now - Date.parse(key.last_used_at ?? key.created_at) > UNUSED_MS) risks.push("Unused for 90 days");
  return risks;
}

/** The API calls each key with an end `expiring`; to people that is one whose end is near, or that was rotated. */
export function standingOf(key: Key, now: number): Key["state"] {
  if (key.state !== "expiring" || key.successor) return key.state;
  return Date.parse(key.expires_at!) - now < SOON_MS ? "expiring" : "active";
}

/** The newest first; a key that was rotated stands under the one that follows it. */
export function inOrder(keys: readonly Key[]): Key[] {
  const former = Map.groupBy(
    keys.filter(({ successor }) => keys.some(({ id }) => id === successor)),
    ({ successor }) => successor!,
  );
  const line = (key: Key): Key[] => [key, ...(former.get(key.id) ?? []).flatMap(line)];
  const heads = keys.filter(({ successor }) => !keys.some(({ id }) => id === successor));
  return heads
    .sort((a, b) => b.created_at.localeCompare(a.created_at) || b.id.localeCompare(a.id))
    .flatMap(line);
}

/** `4 keys, 2 without a limit, 1 unused for 90 days`. */
export function summary(keys: readonly Key[], now: number): string {
  const usable = keys.filter((key) => !hasEnded(key));
  const risks = usable.flatMap((key) => risksOf(key, now));
  const count = (risk: Risk, words: string) => {
    const n = risks.filter((one) => one === risk).length;
    return n > 0 ? [`${n} ${words}`] : [];
  };
  return [
    `${usable.length} ${usable.length === 1 ? "key" : "keys"} in use`,
    ...count("No limit", "without a limit"),
    ...count("No expiry", "without an expiry"),
    ...count("Unused for 90 days", "unused for 90 days"),
  ].join(", ");
}

/** How much of a budget is gone, 0 to 1, with what requests in flight hold. */
export function usedOf({ spent_nanodollars, held_nanodollars, limit_nanodollars }: Budget): number {
  const [used, limit] = [
    BigInt(spent_nanodollars) + BigInt(held_nanodollars),
    BigInt(limit_nanodollars),
  ] as const;
  return limit === 0n ? 1 : Math.min(1, Number((used * 1_000n) / limit) / 1_000);
}
