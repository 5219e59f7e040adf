/** An account's money as every route shows it: decimal USD, and integers as text for those who calculate. */
import { formatUsd } from "../money.ts";
import type { BalanceView } from "../objects/account.ts";

export const balanceView = ({ balance, held, available }: BalanceView) => ({
  balance: formatUsd(balance),
  balance_nanodollars: String(balance),
  held: formatUsd(held),
  held_nanodollars: String(held),
  available: formatUsd(available),
  available_nanodollars: String(available),
});
