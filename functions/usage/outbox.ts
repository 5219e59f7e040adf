/** What the account's object sends through the queue to D1: contiguous journal rows, oldest first, or notices. */
import type { AccountId } from "../ids.ts";
import type { JournalRow } from "../objects/ledger.ts";
import type { Notice } from "../objects/notices.ts";

export interface OutboxMessage {
  readonly account: AccountId;
  readonly rows: readonly JournalRow[];
  /** What webhooks have to tell. They are short, and come without rows. */
  readonly notices?: readonly Notice[];
}

/** Limits of one message: the platform takes 128 KB, and one D1 batch should stay small. */
export const MAX_ROWS = 50;
export const MAX_BYTES = 60_000;
export const MAX_NOTICES = 50;

const encoder = new TextEncoder();

/** Cuts rows into messages within both limits. */
export function messages(account: AccountId, rows: readonly JournalRow[]): OutboxMessage[] {
  const out: { account: AccountId; rows: JournalRow[] }[] = [];
  let bytes = 0;
  for (const row of rows) {
    const size = encoder.encode(JSON.stringify(row)).length;
    const current = out.at(-1);
    if (current && current.rows.length < MAX_ROWS && bytes + size <= MAX_BYTES) {
      current.rows.push(row);
      bytes += size;
    } else {
      out.push({ account, rows: [row] });
      bytes = size;
    }
  }
  return out;
}
