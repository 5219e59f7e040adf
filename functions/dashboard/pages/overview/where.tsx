/** Where it went: a row a group, and a total that is checked. */
import { change, count, duration, errorShare, tokens, usdExact } from "../../format.ts";
import { Icon } from "../../icon.tsx";
import { Scroll, Unknown } from "../../parts.tsx";
import { GROUPS, type Group as GroupName, type View } from "../../state.ts";
import type { Names } from "../names.ts";
import { addsUp, COLOURS, type Group, nameOf, OTHER, requestsLink, sum, type Usage } from "./usage.ts";

interface Props {
  readonly usage: Usage;
  readonly view: View;
  readonly names: Names;
  readonly choose: (group: GroupName) => void;
}

export function Where({ usage, view, names, choose }: Props) {
  const name = nameOf(view.group, names);
  const spending = usage.groups.filter(({ totals }) => totals.cost_nanodollars !== "0").length;
  const largest = BigInt(usage.groups[0]?.totals.cost_nanodollars ?? "0");
  return (
    <section class="panel" aria-labelledby="where">
      <header>
        <h2 id="where">Where it went</h2>
        <fieldset class="choice">
          <legend class="hidden">Group by</legend>
          {Object.entries(GROUPS).map(([name, label]) => (
            <button
              type="button"
              aria-pressed={view.group === name}
              onClick={() => choose(name as GroupName)}
            >
              {label}
            </button>
          ))}
        </fieldset>
      </header>
      <Scroll label="Where it went, group by group">
        <table>
          <thead>
            <tr>
              <th scope="col">{GROUPS[view.group]}</th>
              <th scope="col" class="number">
                Spend
              </th>
              <th scope="col">Of the largest</th>
              {["vs. before", "Requests", "Input", "Cached", "Output", "TTFT p95", "Tokens/s", "Errors"].map(
                (name) => (
                  <th scope="col" class="number">
                    {name}
                  </th>
                ),
              )}
            </tr>
          </thead>
          <tbody>
            {usage.groups.map((group, i) => (
              <Row
                group={group}
                id={group.id}
                name={name(group.id)}
                href={requestsLink(view, { [view.group]: group.id })}
                colour={i >= spending ? undefined : (COLOURS[i] ?? OTHER)}
                largest={largest}
              />
            ))}
            {usage.other && <Row group={usage.other} name="other" colour={OTHER} largest={largest} />}
          </tbody>
          <tfoot>
            <tr>
              <th scope="row">Total</th>
              <td class="number" title={usdExact(usage.totals.cost_nanodollars)}>
                {sum(usage.totals.cost_nanodollars)}
              </td>
              <td colSpan={2}>
                <Check usage={usage} />
              </td>
              <Figures {...usage.totals} />
            </tr>
          </tfoot>
        </table>
      </Scroll>
    </section>
  );
}

function Check({ usage }: { usage: Usage }) {
  const { journal_sequence: last, pending_events: pending } = usage.as_of;
  if (!addsUp(usage))
    return (
      <span class="state bad">
        <Icon name="cross" />
        rows do not add up
      </span>
    );
  if (pending > 0)
    return (
      <span class="state warn">
        <Icon name="warn" />
        {pending} of {last} journal entries to come
      </span>
    );
  return (
    <span class="state good">
      <Icon name="check" />
      rows add up, journal complete to entry {last}
    </span>
  );
}

interface RowProps {
  readonly group: Group;
  /** Where it is not its name. */
  readonly id?: string;
  readonly name: string;
  readonly href?: string;
  readonly colour: string | undefined;
  readonly largest: bigint;
}

function Row({ group: { totals, previous }, id, name, href, colour, largest }: RowProps) {
  const cost = BigInt(totals.cost_nanodollars);
  const part = largest > 0n ? Number((cost * 1_000n) / largest) / 10 : 0;
  const moved = change(cost, previous?.cost_nanodollars ?? null);
  const paint = (element: HTMLElement | null) => {
    if (element) element.style.background = colour ? `var(${colour})` : "none";
  };
  const fill = (element: HTMLElement | null) => {
    if (element) element.style.width = `${part}%`;
  };
  return (
    <tr>
      <th scope="row" class="named">
        <i class="swatch" ref={paint} />
        {href ? (
          <a href={href} title={id}>
            {name}
          </a>
        ) : (
          name
        )}
      </th>
      <td class="number" title={usdExact(totals.cost_nanodollars)}>
        {sum(totals.cost_nanodollars)}
      </td>
      <td>
        {cost === 0n ? (
          <span class="quiet">free</span>
        ) : (
          <>
            <span class="bar" aria-hidden="true">
              <i ref={fill} />
            </span>
            <span class="hidden">{part.toFixed(0)} %</span>
          </>
        )}
      </td>
      <td class="number">{moved.direction === "none" ? <Unknown /> : moved.text}</td>
      <Figures {...totals} />
    </tr>
  );
}

function Figures(totals: Group["totals"]) {
  const { input_tokens: input, cached_input_tokens: cached, output_tokens: output } = totals;
  const speed = totals.output_tokens_per_second?.p50;
  return (
    <>
      <td class="number">{count(totals.requests)}</td>
      <td class="number" title={count(input)}>
        {tokens(input)}
      </td>
      <td class="number" title={count(cached)}>
        {tokens(cached)}
      </td>
      <td class="number" title={count(output)}>
        {tokens(output)}
      </td>
      <td class="number">{totals.ttft_ms ? duration(totals.ttft_ms.p95) : <Unknown />}</td>
      <td class="number">{speed === undefined ? <Unknown /> : speed.toFixed(1)}</td>
      <td class="number">{errorShare(totals.failed, totals.requests)}</td>
    </>
  );
}
