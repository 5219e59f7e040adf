/** The list of keys: what each may do, what it has spent of what, when it was used, and what is risky about it. */
import "../../styles/keys.css";
import { session } from "../../api.ts";
import { ago, count, date, fullTime, moment, usdExact, usdLimit } from "../../format.ts";
import { Money, State } from "../../parts.tsx";
import type { Open } from "../keys.tsx";
import { type Budget, hasEnded, type Key, risksOf, standingOf, usedOf } from "./keys.ts";

interface Seen {
  readonly zone: string;
  readonly now: number;
  readonly open: (what: Open) => void;
}

export function Table({
  keys,
  showEnded,
  setShowEnded,
  ...seen
}: {
  keys: readonly Key[];
  showEnded: boolean;
  setShowEnded: (is: boolean) => void;
} & Seen) {
  const ended = keys.filter(hasEnded);
  const usable = keys.filter((key) => !hasEnded(key));
  const shown = showEnded ? [...usable, ...ended] : usable;
  return (
    <section class="panel keys" aria-label="Keys of the account">
      {/* biome-ignore-start lint/a11y/noRedundantRoles: on phones display takes the table's own roles away */}
      <table class="blocks" role="table">
        <thead role="rowgroup">
          <tr role="row">
            {["Key", "May", "Budget", "Last used", "State"].map((name) => (
              <th scope="col" role="columnheader">
                {name}
              </th>
            ))}
            <th scope="col" role="columnheader">
              <span class="hidden">Change it</span>
            </th>
          </tr>
        </thead>
        <tbody role="rowgroup">
          {shown.map((key) => (
            <Row of={key} all={keys} {...seen} key={key.id} />
          ))}
        </tbody>
      </table>
      {/* biome-ignore-end lint/a11y/noRedundantRoles: as above */}
      {ended.length > 0 && (
        <p class="more">
          <button
            type="button"
            class="small"
            aria-expanded={showEnded}
            onClick={() => setShowEnded(!showEnded)}
          >
            {showEnded ? "Hide" : "Show"} {ended.length} that {ended.length === 1 ? "has" : "have"} ended
          </button>
        </p>
      )}
    </section>
  );
}

function Row({ of: key, all, zone, now, open }: { of: Key; all: readonly Key[] } & Seen) {
  const isOwn = key.id === session.value?.key.id;
  const limits = [
    key.requests_per_minute !== null && `${count(key.requests_per_minute)} requests/min`,
    key.tokens_per_minute !== null && `${count(key.tokens_per_minute)} tokens/min`,
    key.residency && `only in ${key.residency.join(", ")}`,
  ].filter(Boolean);
  const button = (what: "change" | "rotate" | "revoke", label: string) => (
    <button
      type="button"
      class={what === "revoke" ? "small danger" : "small"}
      onClick={() => open({ what, key })}
    >
      {label} <span class="hidden">{key.name}</span>
    </button>
  );
  return (
    // biome-ignore-start lint/a11y/noRedundantRoles: as above
    <tr role="row" id={`row-${key.id}`} tabIndex={-1} class={hasEnded(key) ? "ended" : ""}>
      <th scope="row" role="rowheader" class="whole" title={key.id}>
        <span class="name">{key.name}</span>
        <span class="below">
          <span class="mono">…{key.hint}</span> · made {date(key.created_at, zone)}
        </span>
        {isOwn && <span class="tag own">this session</span>}
      </th>
      <td role="cell" class="whole">
        <span class="tags">
          {key.scopes.map((scope) => (
            <span class="tag">{scope}</span>
          ))}
        </span>
        {limits.length > 0 && <span class="below">{limits.join(" · ")}</span>}
      </td>
      <td role="cell" data-label="Budget">
        <Spent of={key.budgets.day} period="day" zone={zone} />
        <Spent of={key.budgets.month} period="month" zone={zone} />
        {!key.budgets.day && !key.budgets.month && <span class="quiet">none</span>}
      </td>
      <td
        role="cell"
        data-label="Last used"
        title={key.last_used_at ? fullTime(key.last_used_at, zone, now) : undefined}
      >
        {key.last_used_at ? ago(key.last_used_at, now) : <span class="quiet">never</span>}
      </td>
      <td role="cell" class="whole">
        <State of={standingOf(key, now)} />
        <Until of={key} all={all} zone={zone} now={now} />
        <span class="tags">
          {risksOf(key, now).map((risk) => (
            <span class={risk === "No expiry" ? "tag" : "tag warn"}>{risk}</span>
          ))}
        </span>
      </td>
      <td role="cell" class="whole">
        {!hasEnded(key) && (
          <span class="row-end">
            {button("change", "Edit")}
            {button("rotate", "Rotate")}
            {button("revoke", "Revoke")}
          </span>
        )}
      </td>
    </tr>
    // biome-ignore-end lint/a11y/noRedundantRoles: as above
  );
}

function Until({ of: key, all, zone, now }: { of: Key; all: readonly Key[]; zone: string; now: number }) {
  const next = all.find(({ id }) => id === key.successor);
  const end = key.revoked_at ?? key.expires_at;
  return (
    <>
      {end && (
        <span class="below" title={fullTime(end, zone, now)}>
          {hasEnded(key) ? date(end, zone) : `until ${until(end, zone, now)}`}
        </span>
      )}
      {next && (
        <span class="below">
          followed by <span class="mono">…{next.hint}</span>
        </span>
      )}
    </>
  );
}

/** Near ends to the minute, far ones by the day. */
const until = (iso: string, zone: string, now: number): string =>
  Date.parse(iso) - now < 30 * 86_400_000 ? moment(iso, zone) : date(iso, zone);

/** What two digits would show as nothing is shown as one request's cost is. */
const isTiny = (nano: string): boolean => nano !== "0" && BigInt(nano) < 5_000_000n;

function Spent({ of: budget, period, zone }: { of: Budget | null; period: string; zone: string }) {
  if (!budget) return null;
  const used = usedOf(budget);
  const fill = (element: HTMLElement | null) => {
    if (element) element.style.width = `${used * 100}%`;
  };
  const tone = used >= 1 ? "full" : used >= 0.8 ? "near" : "";
  return (
    <span
      class="spent"
      title={`${usdExact(budget.spent_nanodollars)} settled, ${usdExact(budget.held_nanodollars)} held, of ${usdExact(budget.limit_nanodollars)}; resets ${moment(budget.resets_at, zone)}`}
    >
      <Money nano={budget.spent_nanodollars} request={isTiny(budget.spent_nanodollars)} /> of{" "}
      {usdLimit(budget.limit_nanodollars)} <span class="quiet">a {period}</span>
      {used >= 0.8 && (
        <span class={used >= 1 ? "bad" : "warn"}> {used >= 1 ? "used up" : "nearly used"}</span>
      )}
      <span class={`meter ${tone}`} aria-hidden="true">
        <i ref={fill} />
      </span>
    </span>
  );
}
