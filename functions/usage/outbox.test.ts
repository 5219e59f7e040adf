import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { newAccountId } from "../ids.ts";
import type { JournalRow } from "../objects/ledger.ts";
import { MAX_BYTES, MAX_ROWS, messages } from "./outbox.ts";

const account = newAccountId();
const row = (sequence: number, padding: number) =>
  ({ sequence, reference: "x".repeat(padding) }) as JournalRow;

describe("messages", () => {
  it("is empty when there is nothing to send", () => {
    expect(messages(account, [])).toEqual([]);
  });

  it("fills a message up to its rows, and begins the next", () => {
    const cut = messages(
      account,
      Array.from({ length: 2 * MAX_ROWS + 1 }, (_, i) => row(i + 1, 0)),
    );
    expect(cut.map((message) => message.rows.length)).toEqual([MAX_ROWS, MAX_ROWS, 1]);
  });

  it("keeps both limits and every row, once and in order, and no message is empty", () => {
    const sizes = fc.array(fc.oneof(fc.nat({ max: 500 }), fc.nat({ max: MAX_BYTES - 100 })), {
      maxLength: 200,
    });
    fc.assert(
      fc.property(sizes, fc.nat({ max: 1_000_000 }), (paddings, first) => {
        const rows = paddings.map((padding, i) => row(first + i, padding));
        const cut = messages(account, rows);
        for (const message of cut) {
          expect(message.account).toBe(account);
          expect(message.rows.length).toBeGreaterThan(0);
          expect(message.rows.length).toBeLessThanOrEqual(MAX_ROWS);
          const bytes = message.rows.reduce(
            (sum, one) => sum + new TextEncoder().encode(JSON.stringify(one)).length,
            0,
          );
          expect(bytes).toBeLessThanOrEqual(MAX_BYTES);
        }
        expect(cut.flatMap((message) => message.rows)).toEqual(rows);
      }),
    );
  });

  it("sends a row that is too large by itself: what is not sent is lost usage", () => {
    const cut = messages(account, [row(1, 10), row(2, MAX_BYTES), row(3, 10)]);
    expect(cut.map((message) => message.rows.map((one) => one.sequence))).toEqual([[1], [2], [3]]);
  });
});
