/** One request: how it ended, when each step was, why it was placed there, and what it cost exactly. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { ApiError } from "../api.ts";
import { clock, count, day, duration, fullTime, UNKNOWN, usdExact, usdRate } from "../format.ts";
import { Icon } from "../icon.tsx";
import { Copy, Failed, Money, Scroll, State, Unknown } from "../parts.tsx";
import { useApi } from "../query.ts";
import type { Names } from "./names.ts";
import { type Placement, Placements } from "./requests/placements.tsx";
import type { Span } from "./requests/scale.ts";
import { Timeline } from "./requests/timeline.tsx";
import { saveCsv } from "./save-csv.ts";

interface Detail {
  readonly id: string;
  readonly request_id: string;
  readonly state: "open" | "settled";
  readonly model: string | null;
  readonly region: string | null;
  readonly key: string | null;
  readonly ending: string | null;
  readonly finish_reason: string | null;
  readonly usage: {
    readonly prompt_tokens: number;
    readonly cached_tokens: number;
    readonly completion_tokens: number;
    readonly source: string | null;
  } | null;
  readonly cost_nanodollars: string | null;
  readonly held_nanodollars: string;
  readonly admitted_at: string | null;
  readonly settled_at: string | null;
  readonly journal_sequence: number | null;
  readonly ttft_ms: number | null;
  readonly duration_ms: number | null;
  readonly attempts?: readonly { readonly backend: string }[];
  readonly prices: { readonly effective_at: string } | null;
  readonly cost_by_class:
    | readonly {
        readonly class: string;
        readonly tokens: number;
        readonly rate_nanodollars_per_million: string;
        readonly cost_nanodollars: string;
      }[]
    | null;
  readonly spans: readonly Span[];
  readonly placements: readonly Placement[];
}

interface Props {
  readonly id: string;
  readonly zone: string;
  readonly names: Names;
  /** The address without it. */
  readonly close: string;
  /** It is the whole page, not a pane beside the list. */
  readonly isPage: boolean;
}

const WHILE_OPEN_MS = 1_500;

export function OneRequest({ id, zone, names, close, isPage }: Props) {
  const isOpen = useRef(true);
  const path = `/v1/requests/${encodeURIComponent(id)}`;
  const { data, error, refetch } = useApi<Detail>(path, isOpen.current ? WHILE_OPEN_MS : undefined);
  isOpen.current = data?.state === "open";
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => title.current?.focus({ preventScroll: !isPage }), []);
  useEffect(() => {
    if (isPage) scrollTo(0, 0);
  }, [isPage]);
  const Title = isPage ? "h1" : "h2";
  return (
    <section class="pane" aria-labelledby="request">
      <header>
        <a class="close" href={close} title="Close (Escape)">
          <Icon name="close" />
          <span class="hidden">Close</span>
        </a>
        <div>
          <Title id="request" ref={title} tabIndex={-1}>
            <span class="hidden">One request: </span>
            <span class="ended">
              {data ? <State of={outcomeOf(data)} /> : "Loading …"}
              {(data?.attempts?.length ?? 0) > 1 && (
                <span class="state warn">
                  <Icon name="shuffle" />
                  failed over
                </span>
              )}
            </span>
            <code>{data?.request_id ?? id}</code>
          </Title>
          <p class="note about">{data && about(data, zone, names)}</p>
        </div>
        <div class="row">
          <Copy text={data?.request_id ?? id} label="Copy id" />
          <button type="button" disabled={!data?.cost_by_class} onClick={() => data && receipt(data, names)}>
            Receipt
          </button>
        </div>
      </header>
      {error instanceof ApiError && error.status === 404 ? (
        <div class="panel empty">
          <p>
            This account has no such request. Ids begin with <code>chatcmpl-</code> or <code>req_</code>.
          </p>
        </div>
      ) : (
        error && <Failed error={error} again={refetch} />
      )}
      {data ? (
        <Facts of={data} {...{ zone, names, isPage }} />
      ) : (
        !error && <div class="panel facts" aria-busy="true" />
      )}
    </section>
  );
}

const OUTCOMES: Readonly<Record<string, true>> = { finished: true, client_left: true, refused: true };
const outcomeOf = ({ state, ending }: Detail): string =>
  state === "open" ? "running" : ending && OUTCOMES[ending] ? ending : "failed";

function about(of: Detail, zone: string, names: Names) {
  const at = of.settled_at ?? of.admitted_at;
  const facts = [of.model, of.key && `key ${names.key(of.key)}`, of.region, of.finish_reason];
  return (
    <>
      {at && (
        <time dateTime={at} title={fullTime(at, zone, Date.now())}>
          {day(at, zone)}, {clock(at, zone)} {zone}
        </time>
      )}
      {facts.filter(Boolean).map((fact) => ` · ${fact}`)}
    </>
  );
}

interface FactsProps extends Pick<Props, "zone" | "names" | "isPage"> {
  readonly of: Detail;
}

function Facts({ of, zone, names, isPage }: FactsProps) {
  const Heading = isPage ? "h2" : "h3";
  const decode = of.spans.find(({ name }) => name === "decode");
  const tokens = of.usage?.completion_tokens ?? 0;
  const seconds = decode ? (decode.end_ms - decode.start_ms) / 1_000 : 0;
  const speed = tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : null;
  return (
    <>
      <dl class="panel facts">
        <Fact name="Cost">
          <Money nano={of.state === "open" ? null : of.cost_nanodollars} request />
        </Fact>
        <Fact name="First token">{known(duration(of.ttft_ms))}</Fact>
        <Fact name="Total">{known(duration(of.duration_ms))}</Fact>
        <Fact name="Output speed">
          {speed === null ? <Unknown /> : speed.toFixed(1)}
          {speed !== null && <small> tokens/s</small>}
        </Fact>
      </dl>
      {of.state === "open" ? (
        <p class="notice">It runs, and holds {usdExact(of.held_nanodollars)}. Its facts come when it ends.</p>
      ) : (
        <>
          <Heading>Timeline</Heading>
          <Timeline
            spans={of.spans}
            backends={of.attempts?.map(({ backend }) => backend) ?? []}
            names={names}
            say={(span) => said(span, of)}
          />
          <Heading>Why this placement</Heading>
          <Placements of={of.placements} names={names} />
          <Heading>Exact cost</Heading>
          <Cost of={of} zone={zone} />
        </>
      )}
    </>
  );
}

const known = (text: string) => (text === UNKNOWN ? <Unknown /> : text);

const Fact = ({ name, children }: { name: string; children: ComponentChildren }) => (
  <div>
    <dt>{name}</dt>
    <dd>{children}</dd>
  </div>
);

const plural = (many: number, one: string): string => `${count(many)} ${one}${many === 1 ? "" : "s"}`;

/** What is known of a step, in a few words. */
function said(span: Span, { usage, held_nanodollars: held, placements, journal_sequence: entry }: Detail) {
  const outcome = (span.outcome ?? "").replaceAll("_", " ");
  switch (span.name) {
    case "admit":
      return `${usdExact(held)} reserved`;
    case "route": {
      const all = placements.find(({ attempt }) => attempt === span.attempt)?.candidates ?? [];
      const ranked = all.filter(({ cost }) => cost !== null).length;
      return all.length === 0 ? outcome : `${plural(all.length, "backend")}, ${plural(ranked, "candidate")}`;
    }
    case "attempt":
      if (span.outcome !== "served" || !usage) return outcome;
      return `prefill of ${plural(usage.prompt_tokens - usage.cached_tokens, "token")}, ${count(usage.cached_tokens)} from the KV cache`;
    case "first_token":
      return "after the request arrived";
    case "decode":
      return usage ? `${plural(usage.completion_tokens, "token")}, ${outcome}` : outcome;
    case "settle":
      return `journal entry ${count(entry)}${usage?.source ? `, counted by the ${usage.source}` : ""}`;
    default:
      return outcome;
  }
}

const CLASSES: Readonly<Record<string, string>> = {
  input: "Input",
  cached_input: "Cached input",
  output: "Output",
};

function Cost({ of, zone }: { of: Detail; zone: string }) {
  const { cost_by_class: classes, prices, cost_nanodollars: cost, held_nanodollars: held } = of;
  if (!classes || cost === null) return <p class="note">What each class of token cost is not known.</p>;
  const returned = BigInt(held) - BigInt(cost);
  return (
    <>
      <Scroll label="Exact cost">
        <table>
          <thead>
            <tr>
              <th scope="col">Class</th>
              {["Tokens", "Price a million", "Cost, USD"].map((name) => (
                <th scope="col" class="number">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {classes.map((line) => (
              <tr>
                <th scope="row">{CLASSES[line.class] ?? line.class}</th>
                <td class="number">{count(line.tokens)}</td>
                <td class="number">{usdRate(line.rate_nanodollars_per_million)}</td>
                <td class="number">{usdExact(line.cost_nanodollars)}</td>
              </tr>
            ))}
          </tbody>
          <tfoot>
            <tr>
              <th scope="row">Settled</th>
              <td class="number">{count(classes.reduce((sum, { tokens }) => sum + tokens, 0))}</td>
              <td class="number">{prices && `price of ${day(prices.effective_at, zone)}`}</td>
              <td class="number">{usdExact(cost)}</td>
            </tr>
          </tfoot>
        </table>
      </Scroll>
      <p class="note">
        {usdExact(held)} was reserved{returned >= 0n && `, ${usdExact(returned)} returned`}.
        {(of.attempts?.length ?? 0) > 1 && " The attempts that failed cost nothing."}
      </p>
    </>
  );
}

function receipt(of: Detail, names: Names): void {
  const plain = (nano: string | null) => usdExact(nano).replaceAll(/[$,]/g, "");
  const same = [of.request_id, of.model ?? "", names.key(of.key) ?? ""];
  saveCsv(`${of.request_id}.csv`, [
    ["request", "model", "key", "class", "tokens", "usd_a_million", "usd"],
    ...(of.cost_by_class ?? []).map((line) => [
      ...same,
      line.class,
      String(line.tokens),
      plain(line.rate_nanodollars_per_million),
      plain(line.cost_nanodollars),
    ]),
    [...same, "settled", "", "", plain(of.cost_nanodollars)],
  ]);
}
