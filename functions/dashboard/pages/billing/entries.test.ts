import { expect, it } from "vitest";
import { brokenAt, csvHead, csvOf, type Entry, nineDigits } from "./entries.ts";

const entry = (more: Partial<Entry>): Entry => ({
  sequence: 7,
  at: "2026-11-24T12:00:00.000Z",
  kind: "usage",
  amount: "-0.0001632",
  amount_nanodollars: "-163200",
  balance: "19.9998368",
  balance_nanodollars: "19999836800",
  reference: null,
  request_id: "req_1",
  model: "causeway-probe",
  key: "key_1",
  ...more,
});

it.each([
  ["-163200", "-0.000163200"],
  ["0", "0.000000000"],
  ["90071992547409930000000", "90071992547409.930000000"],
])("%s nanodollars are %s", (nano, text) => {
  expect(nineDigits(nano)).toBe(text);
});

it("a line of the export is exact, and runs in no spreadsheet", () => {
  expect(csvHead()).toBe("sequence,at,kind,amount_usd,balance_usd,request,reference,model,key\r\n");
  expect(csvOf([entry({ reference: '=HYPERLINK("http://x")' })])).toBe(
    `7,2026-11-24T12:00:00.000Z,usage,-0.000163200,19.999836800,req_1,"'=HYPERLINK(""http://x"")",causeway-probe,key_1\r\n`,
  );
});

it("a balance that does not follow from the one before it is found", () => {
  const first = entry({ sequence: 6, amount_nanodollars: "20000000000", balance_nanodollars: "20000000000" });
  expect(brokenAt([entry({}), first])).toBeUndefined();
  expect(brokenAt([entry({ balance_nanodollars: "19999836801" }), first])?.sequence).toBe(7);
});
