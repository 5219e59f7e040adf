/**
 * The roles that a table's parts have anyway, and lose where a narrow window shows them as blocks: written out there.
 */
export const TABLE = { role: "table" } as const;
export const ROWS = { role: "rowgroup" } as const;
export const ROW = { role: "row" } as const;
export const HEAD = { role: "columnheader", scope: "col" } as const;
export const NAME = { role: "rowheader", scope: "row" } as const;
export const CELL = { role: "cell" } as const;
