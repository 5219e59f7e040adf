/** Where is every cent? The balance and how it came to be, what may be spent, and whom is told. */
import "../styles/billing.css";
import { useState } from "preact/hooks";
import { useLocation } from "preact-iso/router";
import { may } from "../api.ts";
import { Head } from "../parts.tsx";
import { changedQuery, readView } from "../state.ts";
import { Balance } from "./billing/balance.tsx";
import { Journal } from "./billing/journal.tsx";
import { Limits } from "./billing/limits.tsx";
import { TopUp } from "./billing/top-up.tsx";
import { Webhooks } from "./billing/webhooks.tsx";

const TABS = [
  { name: "journal", label: "Journal", scope: "usage" },
  { name: "limits", label: "Budgets and alerts", scope: "manage" },
  { name: "webhooks", label: "Webhooks", scope: "manage" },
] as const;

/** What one tab has in the address, and the next has no use for. */
const LEFT = { before: null, endpoint: null, deliveries: null, checkout: null };

const ownZone = Intl.DateTimeFormat().resolvedOptions().timeZone;

export default function Billing() {
  const { path, query } = useLocation();
  const { zone } = readView(query, ownZone);
  const tabs = TABS.filter(({ scope }) => may(scope));
  const tab = tabs.find(({ name }) => name === query.tab)?.name ?? "journal";
  const [isPaying, setPaying] = useState(false);
  return (
    <>
      <Head title="Billing" about={`Every change of the balance, to the nanodollar · times in ${zone}`}>
        {may("manage") && (
          <button type="button" class="primary" onClick={() => setPaying(true)}>
            Add credit
          </button>
        )}
      </Head>
      {query.checkout === "done" && (
        <p class="notice good" role="status">
          <b>Paid.</b> The credit is in the balance as soon as Stripe tells of it, which takes seconds.
        </p>
      )}
      {query.checkout === "cancelled" && (
        <p class="notice" role="status">
          The payment was cancelled. Nothing was paid.
        </p>
      )}
      <Balance isAwaited={query.checkout === "done"} />
      <div class="tabbed">
        {tabs.length > 1 && (
          <nav class="tabs" aria-label="Billing">
            {tabs.map(({ name, label }) => (
              <a
                href={path + changedQuery(query, { ...LEFT, tab: name === "journal" ? null : name })}
                aria-current={name === tab ? "page" : undefined}
              >
                {label}
              </a>
            ))}
          </nav>
        )}
        {tab === "journal" && <Journal zone={zone} />}
        {tab === "limits" && <Limits zone={zone} />}
        {tab === "webhooks" && <Webhooks zone={zone} />}
      </div>
      {isPaying && <TopUp onClose={() => setPaying(false)} />}
    </>
  );
}
