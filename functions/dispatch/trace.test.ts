import { describe, expect, it } from "vitest";
import type { Placement } from "../../router/types.ts";
import { MAX_TRACE_BYTES, Trace } from "./trace.ts";

const placement = (i: number, terms: Record<string, number>): Placement => ({
  prefill: `bknd_${i}`,
  decode: `bknd_${i}`,
  region: "us-east",
  cost: 0.123456 + i,
  terms,
  cachedTokens: 0,
});

describe("a trace", () => {
  it("keeps who it was between: the ten best, rounded, and those turned down where there is room", () => {
    const trace = new Trace(1_000);
    const ranked = [placement(0, { queue: 0.25 }), placement(1, { price: 0.00005, queue: 1 })];
    const turnedDown = Array.from({ length: 20 }, (_, i) => ({
      backend: `down_${i}`,
      region: "eu",
      reason: "resting" as const,
    }));
    trace.routed(1, 1_000, 1_002, "placed", { ranked, turnedDown }, "bknd_0");
    const { terms, placements } = trace.record();
    expect(terms).toEqual(["queue", "price"]);
    expect(placements[0]).toMatchObject({ attempt: 1, chosen: "bknd_0" });
    expect(placements[0]!.candidates).toHaveLength(10);
    expect(placements[0]!.candidates.slice(0, 3)).toEqual([
      { backend: "bknd_0", region: "us-east", cost: 0.1235, terms: [0.25] },
      { backend: "bknd_1", region: "us-east", cost: 1.1235, terms: [1, 0.0001] },
      { backend: "down_0", region: "eu", excluded: "resting" },
    ]);
  });

  it("is at most 4 KB, whatever happened, and says of each attempt what it can", () => {
    const trace = new Trace(0);
    const names = Array.from({ length: 12 }, (_, i) => `a_term_of_a_long_name_${i}`);
    const terms = Object.fromEntries(names.map((name, i) => [name, 1_234.5678 + i]));
    const ranked = Array.from({ length: 10 }, (_, i) => placement(i, terms));
    for (let attempt = 1; attempt <= 4; attempt++) {
      trace.routed(attempt, attempt, attempt, "placed", { ranked, turnedDown: [] }, "bknd_0");
      trace.attempted(attempt, attempt, attempt, "failed");
    }
    const record = trace.record();
    expect(JSON.stringify(record).length).toBeLessThanOrEqual(MAX_TRACE_BYTES);
    expect(record.spans).toHaveLength(8);
    expect(record.placements.map(({ candidates }) => candidates.length > 0)).toEqual([
      true,
      true,
      true,
      true,
    ]);
    for (const { candidates } of record.placements) expect(candidates[0]!.backend).toBe("bknd_0");
  });

  it("ends a stream once, and none that never began", () => {
    const trace = new Trace(0);
    trace.ended(5, "refused");
    trace.attempted(1, 5, 9, "served");
    trace.ended(20, "failed");
    trace.ended(30, "finished");
    expect(trace.record().spans).toEqual([
      { name: "attempt", attempt: 1, outcome: "served", start: 5, end: 9 },
      { name: "first_token", attempt: 1, start: 9, end: 9 },
      { name: "decode", attempt: 1, outcome: "failed", start: 9, end: 20 },
    ]);
  });
});
