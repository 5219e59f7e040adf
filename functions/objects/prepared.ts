/**
 * Statements whose SQL is made once an object's life: Drizzle else builds the same text anew at each call, which costs
 * more than running it. They run on the object's one connection, so inside a transaction they are part of it.
 */
import { getTableColumns, type InferInsertModel, sql } from "drizzle-orm";
import type { SQLiteTable } from "drizzle-orm/sqlite-core";
import type { Database } from "./ledger.ts";

/**
 * Inserts whole rows of a table; a column that a row lacks is null, whatever its default. Values are encoded here, and
 * not by Drizzle's placeholders: those write a JSON column's null as the text "null".
 */
export function insertInto<Table extends SQLiteTable>(
  db: Database,
  table: Table,
): (row: InferInsertModel<Table>) => void {
  const columns = Object.entries(getTableColumns(table));
  const places = Object.fromEntries(columns.map(([name]) => [name, sql`${sql.placeholder(name)}`]));
  const statement = db
    .insert(table)
    .values(places as never)
    .prepare();
  return (row) => {
    const given = row as Record<string, unknown>;
    const values: Record<string, unknown> = {};
    for (const [name, column] of columns) {
      const value = given[name] ?? null;
      values[name] = value === null ? null : column.mapToDriverValue(value);
    }
    statement.run(values);
  };
}
