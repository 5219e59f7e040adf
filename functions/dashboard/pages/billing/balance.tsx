/** What is there, what of it is tied up, and how long it lasts. */
import { usdExact, usdHeld } from "../../format.ts";
import { Failed, Money } from "../../parts.tsx";
import { useApi } from "../../query.ts";

interface BalanceAnswer {
  readonly balance_nanodollars: string;
  readonly held_nanodollars: string;
  readonly available_nanodollars: string;
  readonly days_left: number | null;
}

/** Its cells are there before their figures: nothing below moves when they come. */
export function Balance({ isAwaited }: { isAwaited: boolean }) {
  const { data, error, refetch } = useApi<BalanceAnswer>("/v1/balance", isAwaited ? 2_000 : 10_000);
  return (
    <>
      {error && <Failed error={error} again={refetch} />}
      <dl class="cells balance" aria-busy={!data && !error}>
        <div>
          <dt>Available</dt>
          <dd>{data ? <Money nano={data.available_nanodollars} /> : "—"}</dd>
          <dd>posted less reserved</dd>
        </div>
        <div>
          <dt>Posted</dt>
          <dd>{data ? <Money nano={data.balance_nanodollars} /> : "—"}</dd>
          <dd>{data ? `exactly ${usdExact(data.balance_nanodollars)}` : "the journal's last balance"}</dd>
        </div>
        <div>
          <dt>Reserved</dt>
          <dd title={data && usdExact(data.held_nanodollars)}>
            {data ? usdHeld(data.held_nanodollars) : "—"}
          </dd>
          <dd>for requests that run</dd>
        </div>
        <div>
          <dt>Days left</dt>
          <dd>{data ? lasts(data.days_left) : "—"}</dd>
          <dd>{data && data.days_left === null ? "no spend yet to tell from" : "as the last 7 days went"}</dd>
        </div>
      </dl>
    </>
  );
}

const lasts = (days: number | null): string =>
  days === null ? "—" : days > 730 ? "over 730" : String(Math.floor(days));
