/** Gives the reader a file of rows; what a spreadsheet would run is made text. */
import { csvCell } from "../format.ts";

export function saveCsv(name: string, lines: readonly (readonly string[])[]): void {
  const text = lines.map((cells) => cells.map(csvCell).join(",")).join("\r\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${text}\r\n`], { type: "text/csv" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
