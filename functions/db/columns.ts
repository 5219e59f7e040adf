/** Columns that both databases spell the same way. */
import { integer } from "drizzle-orm/sqlite-core";
import type { Nanodollars } from "../money.ts";

/** A safe integer of nanodollars: asserted by money.ts before every write. Sums over rows are read as text. */
export const money = (name: string) => integer(name).$type<Nanodollars>();

/** Milliseconds since the epoch, UTC. */
export const instant = (name: string) => integer(name);
