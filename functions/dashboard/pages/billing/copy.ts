/** What is copied from a table of money is exact: cells of six digits leave it with nine, as plain numbers. */
import { nineDigits } from "./entries.ts";

export function copyExact(event: ClipboardEvent): void {
  const selection = document.getSelection();
  const table = event.currentTarget as HTMLElement;
  if (!selection || selection.isCollapsed || !event.clipboardData) return;
  const rows = [...table.querySelectorAll("tr")]
    .map((row) => [...row.cells].filter((cell) => selection.containsNode(cell, true)))
    .filter((cells) => cells.length > 0);
  const hasMoney = rows.some((cells) => cells.some((cell) => cell.querySelector("[data-exact]")));
  if (!hasMoney) return;
  event.clipboardData.setData("text/plain", rows.map((cells) => cells.map(textOf).join("\t")).join("\n"));
  event.preventDefault();
}

function textOf(cell: HTMLElement): string {
  const exact = cell.querySelector<HTMLElement>("[data-exact]")?.dataset.exact;
  if (exact !== undefined) return nineDigits(exact);
  // A block within the cell is a word of its own.
  const texts = [...cell.childNodes].map(({ textContent }) => textContent ?? "");
  return texts.join(" ").replace(/\s+/g, " ").trim();
}
