/** The balance, as Billing shows it. */
import { Failed, Loading, Money } from "../parts.tsx";
import { useApi } from "../query.ts";

interface Balance {
  readonly balance_nanodollars: string;
  readonly held_nanodollars: string;
  readonly available_nanodollars: string;
  readonly days_left: number | null;
}

export function BalanceCells() {
  const { data, error, refetch } = useApi<Balance>("/v1/balance", 10_000);
  if (!data) return error ? <Failed error={error} again={refetch} /> : <Loading what="the balance" />;
  return (
    <dl class="cells">
      <div>
        <dt>Balance</dt>
        <dd>
          <Money nano={data.balance_nanodollars} />
        </dd>
        <dd>posted</dd>
      </div>
      <div>
        <dt>Available</dt>
        <dd>
          <Money nano={data.available_nanodollars} />
        </dd>
        <dd>after what running requests hold</dd>
      </div>
      <div>
        <dt>Days left</dt>
        <dd>{data.days_left === null ? "—" : Math.floor(data.days_left)}</dd>
        <dd>{data.days_left === null ? "no spend to tell from" : "as the last 7 days went"}</dd>
      </div>
    </dl>
  );
}
