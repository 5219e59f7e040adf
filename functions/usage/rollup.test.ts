import { describe, expect, it } from "vitest";
import { QUARTER_HOUR_MS } from "../clock.ts";
import { nanodollars } from "../money.ts";
import type { JournalRow } from "../objects/ledger.ts";
import { countOf, quantile, RELATIVE_ERROR } from "./histogram.ts";
import { rollupsOf } from "./rollup.ts";

const row = (more: Partial<JournalRow>) =>
  ({
    sequence: 1,
    kind: "usage",
    at: 10 * QUARTER_HOUR_MS,
    amount: nanodollars(-5),
    model: "m",
    region: "r",
    backend: "b",
    keyId: "key_1",
    ending: "finished",
    input: 1,
    cachedInput: 2,
    output: 101,
    reasoning: 4,
    ttftMs: 1_000,
    durationMs: 3_000,
    ...more,
  }) as JournalRow;

describe("rollupsOf", () => {
  it("adds up the rows of a quarter hour, model, region, backend and key", () => {
    const late = { at: 11 * QUARTER_HOUR_MS - 1 };
    const rows = [
      row({}),
      row(late),
      row({ at: 11 * QUARTER_HOUR_MS }),
      row({ keyId: "key_2" }),
      row({ model: "n" }),
      row({ backend: "c" }),
    ];
    const groups = rollupsOf(rows);
    expect(groups).toHaveLength(5);
    expect(groups[0]).toMatchObject({
      bucket: 10 * QUARTER_HOUR_MS,
      requests: 2,
      input: 2,
      cachedInput: 4,
      output: 202,
      reasoning: 8,
      cost: 10,
    });
  });

  it("takes an adjustment's tokens and cost, and counts no request, failure or speed for it", () => {
    const groups = rollupsOf([row({ ending: "expired" }), row({ kind: "adjustment", ending: "expired" })]);
    expect(groups).toMatchObject([{ requests: 1, failures: 1, output: 202, cost: 10 }]);
    expect([countOf(groups[0]!.ttft), countOf(groups[0]!.speed)]).toEqual([1, 1]);
  });

  it("leaves credits out", () => {
    expect(rollupsOf([row({ kind: "credit" })])).toEqual([]);
  });

  it("counts as failures what the platform failed at, and not what its client ended or got refused", () => {
    const failures = (
      ["finished", "client_left", "refused", "backend_failed", "deadline", "expired"] as const
    ).map((ending) => rollupsOf([row({ ending })])[0]!.failures);
    expect(failures).toEqual([0, 0, 0, 1, 1, 1]);
  });

  it("takes the speed from the first token on, where there was a second one", () => {
    const speed = (more: Partial<JournalRow>) => rollupsOf([row(more)])[0]!.speed;
    expect(Math.abs(quantile(speed({}), 0.5)! - 50) / 50).toBeLessThanOrEqual(RELATIVE_ERROR);
    for (const none of [{ output: 1 }, { output: 0 }, { ttftMs: null }, { durationMs: 1_000 }])
      expect(countOf(speed(none))).toBe(0);
  });
});
