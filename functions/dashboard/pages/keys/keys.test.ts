import { expect, it } from "vitest";
import { inOrder, type Key, risksOf, standingOf, summary, usedOf } from "./keys.ts";

const NOW = Date.parse("2026-11-24T12:00:00Z");
const day = (n: number) => new Date(NOW + n * 86_400_000).toISOString();
const budget = (limit: string, spent = "0", held = "0") => ({
  limit_nanodollars: limit,
  spent_nanodollars: spent,
  held_nanodollars: held,
  resets_at: day(1),
});
const key = (more: Partial<Key>): Key => ({
  id: "key_1",
  name: "web",
  hint: "abcd",
  scopes: ["inference"],
  created_at: day(-100),
  expires_at: day(200),
  revoked_at: null,
  last_used_at: day(-1),
  state: "expiring",
  successor: null,
  requests_per_minute: null,
  tokens_per_minute: null,
  residency: null,
  budgets: { day: budget("1"), month: null },
  ...more,
});

it.each<[string, Partial<Key>, string[]]>([
  ["a key with a budget, an end and a use has none", {}, []],
  ["no budget is no limit", { budgets: { day: null, month: null } }, ["No limit"]],
  ["a month's budget is a limit", { budgets: { day: null, month: budget("1") } }, []],
  ["what cannot spend needs no limit", { scopes: ["usage"], budgets: { day: null, month: null } }, []],
  ["no end", { expires_at: null, state: "active" }, ["No expiry"]],
  ["89 days of silence are fine", { last_used_at: day(-89) }, []],
  ["91 are not", { last_used_at: day(-91) }, ["Unused for 90 days"]],
  ["never used counts from when it was made", { last_used_at: null }, ["Unused for 90 days"]],
  ["a revoked key is no risk", { state: "revoked", budgets: { day: null, month: null } }, []],
])("risks: %s", (_name, more, risks) => {
  expect(risksOf(key(more), NOW)).toEqual(risks);
});

it("a far end is no news, a near one and a rotation are", () => {
  expect(standingOf(key({}), NOW)).toBe("active");
  expect(standingOf(key({ expires_at: day(13) }), NOW)).toBe("expiring");
  expect(standingOf(key({ successor: "key_2" }), NOW)).toBe("expiring");
  expect(standingOf(key({ state: "revoked" }), NOW)).toBe("revoked");
});

it("the newest key is first, and a rotated one under its successor", () => {
  const keys = [
    key({ id: "old", created_at: day(-9), successor: "new" }),
    key({ id: "other", created_at: day(-5) }),
    key({ id: "new", created_at: day(-1) }),
    key({ id: "orphan", created_at: day(-7), successor: "gone" }),
  ];
  expect(inOrder(keys).map(({ id }) => id)).toEqual(["new", "old", "other", "orphan"]);
});

it("the page says how many keys there are and what is wrong with them", () => {
  const keys = [key({ expires_at: null }), key({ expires_at: null }), key({ state: "revoked" })];
  expect(summary(keys, NOW)).toBe("2 keys in use, 2 without an expiry");
});

it("what is held counts as used, and a budget of nothing is used up", () => {
  expect(usedOf(budget("1000", "200", "50"))).toBe(0.25);
  expect(usedOf(budget("0"))).toBe(1);
  expect(usedOf(budget("10", "11"))).toBe(1);
});
