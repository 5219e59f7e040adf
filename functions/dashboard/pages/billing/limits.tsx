/** What the account may spend, and at what it tells. */
import { useState } from "preact/hooks";
import { useLocation } from "preact-iso/router";
import { api } from "../../api.ts";
import { Field, Form, moneyOf, textOf } from "../../form.tsx";
import { day, usd, usdLimit } from "../../format.ts";
import { Failed, Loading } from "../../parts.tsx";
import { changed, useApi } from "../../query.ts";
import { changedQuery } from "../../state.ts";

interface Budget {
  readonly limit_nanodollars: string;
  readonly spent_nanodollars: string;
  readonly held_nanodollars: string;
  readonly resets_at: string;
}
interface Budgets {
  readonly day: Budget | null;
  readonly month: Budget | null;
}
interface Alerts {
  readonly balance_low_nanodollars: string | null;
  readonly usage: readonly { readonly period: "day" | "month"; readonly amount_nanodollars: string }[];
}

const MOST_ALERTS = 10;

export function Limits({ zone }: { zone: string }) {
  const budgets = useApi<Budgets>("/v1/budgets");
  const alerts = useApi<Alerts>("/v1/alerts");
  const error = budgets.error ?? alerts.error;
  const again = () => {
    budgets.refetch();
    alerts.refetch();
  };
  if (!budgets.data || !alerts.data)
    return error ? <Failed error={error} again={again} /> : <Loading what="budgets and alerts" />;
  return (
    <div class="halves">
      <BudgetForm budgets={budgets.data} zone={zone} />
      <AlertForm alerts={alerts.data} />
    </div>
  );
}

/** As it would be typed. */
const typed = (nano: string | null | undefined): string =>
  nano == null ? "" : usdLimit(nano).replace(/[$,]/g, "");

function BudgetForm({ budgets, zone }: { budgets: Budgets; zone: string }) {
  const submit = async (data: FormData) => {
    const body = { day: moneyOf(data, "day"), month: moneyOf(data, "month") };
    await api("/v1/budgets", { method: "PUT", body });
    await changed("/v1/budgets");
  };
  const used = (budget: Budget | null) =>
    budget
      ? `${usd(budget.spent_nanodollars)} spent, ${usd(budget.held_nanodollars)} held; resets ${day(budget.resets_at, zone)}`
      : "No budget: the balance is the limit.";
  return (
    <section class="panel" aria-labelledby="budgets">
      <header>
        <h2 id="budgets">Budgets of the account</h2>
      </header>
      <div class="body">
        <p class="note">
          A request that does not fit what is left is refused before it runs, whichever key sends it. Empty:
          no budget.
        </p>
        <Form submit={submit} label="Save budgets" done="Saved.">
          <div class="pair">
            <Field
              name="day"
              label="A UTC day, USD"
              hint={used(budgets.day)}
              inputMode="decimal"
              placeholder="none"
              defaultValue={typed(budgets.day?.limit_nanodollars)}
            />
            <Field
              name="month"
              label="A UTC month, USD"
              hint={used(budgets.month)}
              inputMode="decimal"
              placeholder="none"
              defaultValue={typed(budgets.month?.limit_nanodollars)}
            />
          </div>
        </Form>
      </div>
    </section>
  );
}

function AlertForm({ alerts }: { alerts: Alerts }) {
  const { path, query } = useLocation();
  const [rows, setRows] = useState(() =>
    alerts.usage.map(({ period, amount_nanodollars }, id) => ({
      id,
      period,
      amount: typed(amount_nanodollars),
    })),
  );
  const submit = async (data: FormData) => {
    const usage = rows.map((_, i) => ({
      period: textOf(data, `usage.${i}.period`),
      amount: moneyOf(data, `usage.${i}.amount`) ?? "",
    }));
    await api("/v1/alerts", { method: "PUT", body: { balance_low: moneyOf(data, "balance_low"), usage } });
    await changed("/v1/alerts");
  };
  const add = () => {
    const id = Math.max(-1, ...rows.map((row) => row.id)) + 1;
    setRows([...rows, { id, period: "month", amount: "" }]);
    focusSoon(`[name="usage.${rows.length}.amount"]`);
  };
  const remove = (id: number) => {
    setRows(rows.filter((row) => row.id !== id));
    focusSoon("#add-alert");
  };
  return (
    <section class="panel" aria-labelledby="alerts">
      <header>
        <h2 id="alerts">Alerts</h2>
      </header>
      <div class="body">
        <p class="note">
          Each is told once when it is passed and once when that is over, to the{" "}
          <a href={path + changedQuery(query, { tab: "webhooks" })}>webhook endpoints</a> that ask for it.
        </p>
        <Form submit={submit} label="Save alerts" done="Saved.">
          <Field
            name="balance_low"
            label="Balance below, USD"
            inputMode="decimal"
            placeholder="no alert"
            defaultValue={typed(alerts.balance_low_nanodollars)}
          />
          {rows.map(({ id, period, amount }, i) => (
            <div class="threshold" key={id}>
              <Field
                name={`usage.${i}.amount`}
                label="Spent more than, USD"
                inputMode="decimal"
                required
                defaultValue={amount}
              />
              <Field name={`usage.${i}.period`} label="In a UTC">
                {(attributes) => (
                  <select {...attributes}>
                    {(["day", "month"] as const).map((name) => (
                      <option value={name} selected={name === period}>
                        {name}
                      </option>
                    ))}
                  </select>
                )}
              </Field>
              <button type="button" class="danger" onClick={() => remove(id)}>
                Remove <span class="hidden">alert {i + 1}</span>
              </button>
            </div>
          ))}
          <div>
            <button type="button" id="add-alert" disabled={rows.length >= MOST_ALERTS} onClick={add}>
              Add a spending alert
            </button>
          </div>
        </Form>
      </div>
    </section>
  );
}

/** Once it is drawn. */
const focusSoon = (selector: string) =>
  requestAnimationFrame(() =>
    requestAnimationFrame(() => document.querySelector<HTMLElement>(selector)?.focus()),
  );
