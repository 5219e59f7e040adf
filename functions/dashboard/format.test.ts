/** Each line of the formatting rules. */
import { expect, it } from "vitest";
import * as f from "./format.ts";

it.each([
  ["totals have two digits, half up", f.usd("1284065000000"), "$1,284.07"],
  ["totals beyond 2^53 are exact", f.usd("90071992547409930000000"), "$90,071,992,547,409.93"],
  ["a negative amount has its sign first", f.usd("-1500000000"), "−$1.50"],
  ["what rounds to nothing has no sign", f.usd("-1"), "$0.00"],
  ["what is held has four digits", f.usdHeld("1234567"), "$0.0012"],
  ["one request has six digits", f.usdRequest("42000"), "$0.000042"],
  ["one request has nine where six would show zero", f.usdRequest("499"), "$0.000000499"],
  ["one request has six from half of the last digit on", f.usdRequest("500"), "$0.000001"],
  ["free is free", f.usdRequest("0"), "$0.00"],
  ["prices have three digits", f.usdRate("150000000"), "$0.150"],
  ["prices have more where there are more", f.usdRate("15250000"), "$0.01525"],
  ["what was set has two digits", f.usdLimit("1250000000000"), "$1,250.00"],
  ["what was set has as many as it needs", f.usdLimit("2500000"), "$0.0025"],
  ["exports have nine", f.usdExact("1"), "$0.000000001"],
  ["unknown money is a dash", f.usd(null) + f.usdRequest(null) + f.usdExact(null), "———"],
  ["change has an arrow and a digit", f.change("1123", "1000").text, "↑ 12.3 %"],
  ["change downwards", f.change("500", "1000").text, "↓ 50.0 %"],
  ["no value to compare with is a dash", f.change("500", "0").text, "—"],
  ["tokens have three digits", f.tokens(618_400_000), "618 M"],
  ["tokens go over into the next unit", f.tokens(999_900), "1.00 M"],
  ["few tokens are exact", f.tokens(999), "999"],
  ["lists are exact, with commas", f.count("12345678901234567890"), "12,345,678,901,234,567,890"],
  ["time under a millisecond", f.duration(0.04), "0.04 ms"],
  ["time under ten", f.duration(4.1), "4.1 ms"],
  ["time under a second", f.duration(688), "688 ms"],
  ["time in seconds", f.duration(1_090), "1.09 s"],
  ["time under a minute", f.duration(17_970), "17.97 s"],
  ["time in minutes", f.duration(64_000), "1 m 04 s"],
  ["unknown time", f.duration(null), "—"],
  ["speed has one digit", f.speed(41.26), "41.3 tokens/s"],
  ["a share has one digit", f.share(0.4567), "45.7 %"],
  ["errors have two", f.errorShare(1, 300), "0.33 %"],
  ["a share of nothing is a dash", f.errorShare(0, 0), "—"],
  ["lists show the clock", f.clock("2026-10-26T13:31:45.000Z", "Europe/Vienna"), "14:31:45"],
  ["axes show the day", f.day("2026-10-26T23:31:45.000Z", "Europe/Vienna"), "27 Oct"],
  ["how long ago", f.ago("2026-10-26T13:31:45.000Z", Date.parse("2026-10-26T13:35:00Z")), "3 min ago"],
  ["a cell that a spreadsheet would run is quoted", f.csvCell("=1+1"), `"'=1+1"`],
  ["a tab too", f.csvCell("\tx"), `"'\tx"`],
  ["a negative number stays one", f.csvCell("-1.5"), "-1.5"],
])("%s", (_rule, written, expected) => expect(written).toBe(expected));

it("leading zeros are told from the figure", () => {
  expect(f.leadingZeros("$0.000042")).toBe(7);
  expect(f.leadingZeros("$0.00")).toBe(0);
  expect(f.leadingZeros("$1.000042")).toBe(0);
});
