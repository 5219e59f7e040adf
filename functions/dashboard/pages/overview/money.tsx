/** Whether the money will last: the balance, days left, and what is used of each budget. */
import { may } from "../../api.ts";
import { day, usdExact, usdHeld } from "../../format.ts";
import { Failed, Loading, Money } from "../../parts.tsx";
import { useApi } from "../../query.ts";
import { forecast, type Period } from "./forecast.ts";
import { sum } from "./usage.ts";

interface Balance {
  readonly balance_nanodollars: string;
  readonly held_nanodollars: string;
  readonly available_nanodollars: string;
  readonly days_left: number | null;
}
interface Budget {
  readonly limit_nanodollars: string;
  readonly spent_nanodollars: string;
  readonly resets_at: string;
}
interface Budgets {
  readonly day: Budget | null;
  readonly month: Budget | null;
}

export function Standing({ zone }: { zone: string }) {
  const { data, error, refetch } = useApi<Balance>("/v1/balance", 10_000);
  const budgets = useApi<Budgets>(may("manage") ? "/v1/budgets" : null, 30_000).data;
  if (!data) return error ? <Failed error={error} again={refetch} /> : <Loading what="the balance" />;
  return (
    <section class="standing" aria-labelledby="standing">
      <h2 id="standing">Balance available</h2>
      <p class="tile-value">
        <Money nano={data.available_nanodollars} />
      </p>
      <p class="note">{lasts(data.days_left)}</p>
      <dl class="pairs">
        <dt>Posted</dt>
        <dd title={usdExact(data.balance_nanodollars)}>{usdHeld(data.balance_nanodollars)}</dd>
        <dt>Reserved now</dt>
        <dd title={usdExact(data.held_nanodollars)}>{usdHeld(data.held_nanodollars)}</dd>
      </dl>
      {budgets?.day && <Use name="Today's budget" budget={budgets.day} period="day" zone={zone} />}
      {budgets?.month && <Use name="This month's budget" budget={budgets.month} period="month" zone={zone} />}
      {budgets && !budgets.day && !budgets.month && (
        <p class="note">
          No budget is set. <a href="/dashboard/billing?tab=limits">Set one</a>
        </p>
      )}
    </section>
  );
}

function lasts(days: number | null): string {
  if (days === null) return "no spend yet to tell how long it lasts";
  if (days > 730) return "more than two years at this week's rate";
  return `about ${Math.floor(days)} days at this week's rate`;
}

interface UseProps {
  readonly name: string;
  readonly budget: Budget;
  readonly zone: string;
  readonly period: Period;
}

function Use({ name, budget, zone, period }: UseProps) {
  const [spent, limit] = [BigInt(budget.spent_nanodollars), BigInt(budget.limit_nanodollars)];
  const tenths = tenthsOf(spent, limit);
  const expected = forecast(spent, Date.parse(budget.resets_at), period, Date.now());
  const fill = (element: HTMLElement | null) => {
    if (element) element.style.width = `${Math.min(100, tenths / 10)}%`;
  };
  const mark = (element: HTMLElement | null) => {
    if (element && expected !== null)
      element.style.left = `${Math.min(100, tenthsOf(expected, limit) / 10)}%`;
  };
  const isOver = expected !== null && expected > limit;
  return (
    <div class="use">
      <h3>{name}</h3>
      <p>
        <b>{(tenths / 10).toFixed(1)} %</b> · <Little nano={budget.spent_nanodollars} /> of{" "}
        <Little nano={budget.limit_nanodollars} />
      </p>
      <span class="bar" aria-hidden="true">
        <i ref={fill} />
        {expected !== null && <u ref={mark} />}
      </span>
      <p class={isOver ? "note warn" : "note"}>
        {expected === null ? "resets " : `At this rate ${sum(String(expected))} by `}
        {day(budget.resets_at, zone)}
        {isOver && ", more than it allows"}
      </p>
    </div>
  );
}

/** A budget may be of less than a cent. */
const Little = ({ nano }: { nano: string }) => <span title={usdExact(nano)}>{sum(nano)}</span>;

/** Of a limit of nothing, everything. */
const tenthsOf = (part: bigint, whole: bigint): number =>
  whole > 0n ? Number((part * 1_000n) / whole) : 1_000;
