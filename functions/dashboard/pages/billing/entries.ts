/** Entries of the journal: what they are called, and how they leave the page. Amounts leave it whole. */
import { csvCell } from "../../format.ts";

export interface Entry {
  readonly sequence: number;
  readonly at: string;
  readonly kind: string;
  readonly amount: string;
  readonly amount_nanodollars: string;
  readonly balance: string;
  readonly balance_nanodollars: string;
  readonly reference: string | null;
  readonly request_id: string | null;
  readonly model: string | null;
  readonly key: string | null;
}

export interface JournalPage {
  readonly data: readonly Entry[];
  readonly next_before: number | null;
}

const KINDS: Readonly<Record<string, string>> = {
  usage: "Usage",
  credit: "Credit",
  adjustment: "Late count",
  opening: "Opening balance",
};
export const kindOf = ({ kind }: Entry): string => KINDS[kind] ?? kind;

const COLUMNS = [
  "sequence",
  "at",
  "kind",
  "amount_usd",
  "balance_usd",
  "request",
  "reference",
  "model",
  "key",
] as const;

/** Lines of CSV by RFC 4180, without a cell that a spreadsheet would run. */
export const csvOf = (entries: readonly Entry[]): string =>
  entries
    .map((entry) =>
      line([
        String(entry.sequence),
        entry.at,
        entry.kind,
        nineDigits(entry.amount_nanodollars),
        nineDigits(entry.balance_nanodollars),
        entry.request_id ?? "",
        entry.reference ?? "",
        entry.model ?? "",
        entry.key ?? "",
      ]),
    )
    .join("");
export const csvHead = (): string => line(COLUMNS);

const line = (cells: readonly string[]): string => `${cells.map(csvCell).join(",")}\r\n`;

/** Plain, for spreadsheets and for what is copied: `-0.000163200`. */
export function nineDigits(nano: string): string {
  const sign = nano.startsWith("-") ? "-" : "";
  const digits = nano.slice(sign.length).padStart(10, "0");
  return `${sign}${digits.slice(0, -9)}.${digits.slice(-9)}`;
}

/** Newest first: each balance is the one before it and the entry's amount. The first that is not, if any. */
export function brokenAt(entries: readonly Entry[]): Entry | undefined {
  return entries.find((entry, i) => {
    const before = entries[i + 1];
    return (
      before !== undefined &&
      BigInt(before.balance_nanodollars) + BigInt(entry.amount_nanodollars) !==
        BigInt(entry.balance_nanodollars)
    );
  });
}
