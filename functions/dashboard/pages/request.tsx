/** One request: how it ended, when each step was, why it was placed there, and what it cost exactly. */
import { useEffect, useRef } from "preact/hooks";
import { count, duration, fullTime, usdExact, usdRate } from "../format.ts";
import { Copy, Failed, Loading, Money, Scroll, State, Unknown } from "../parts.tsx";
import { useApi } from "../query.ts";

interface Span {
  readonly name: string;
  readonly attempt: number | null;
  readonly start_ms: number;
  readonly end_ms: number;
  readonly outcome: string | null;
}

interface Candidate {
  readonly backend: string;
  readonly region: string;
  readonly terms: Readonly<Record<string, number>>;
  readonly cost: number | null;
  readonly chosen: boolean;
  readonly excluded_because: string | null;
}

interface Detail {
  readonly id: string;
  readonly request_id: string;
  readonly state: "open" | "settled";
  readonly model: string | null;
  readonly region: string | null;
  readonly backend: string | null;
  readonly ending: string | null;
  readonly finish_reason: string | null;
  readonly usage: { readonly completion_tokens: number; readonly source: string | null } | null;
  readonly cost_nanodollars: string | null;
  readonly held_nanodollars: string;
  readonly settled_at: string | null;
  readonly journal_sequence: number | null;
  readonly ttft_ms: number | null;
  readonly duration_ms: number | null;
  readonly cost_by_class:
    | readonly {
        readonly class: string;
        readonly tokens: number;
        readonly rate_nanodollars_per_million: string;
        readonly cost_nanodollars: string;
      }[]
    | null;
  readonly spans: readonly Span[];
  readonly placements: readonly { readonly attempt: number; readonly candidates: readonly Candidate[] }[];
}

export function OneRequest({ id, zone, close }: { id: string; zone: string; close: string }) {
  const { data, error, refetch } = useApi<Detail>(`/v1/requests/${encodeURIComponent(id)}`);
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => title.current?.focus(), []);
  return (
    <section class="panel request" aria-labelledby="request">
      <header>
        <h2 id="request" ref={title} tabIndex={-1}>
          One request
        </h2>
        <a href={close}>Close</a>
      </header>
      <div class="body">
        <p>
          <code>{id}</code> <Copy text={id} label="Copy id" />
        </p>
        {error && <Failed error={error} again={refetch} />}
        {data ? <Facts of={data} zone={zone} /> : !error && <Loading what="the request" />}
      </div>
    </section>
  );
}

const OUTCOME: Readonly<Record<string, string>> = {
  finished: "finished",
  client_left: "client_left",
  refused: "refused",
};

function Facts({ of, zone }: { of: Detail; zone: string }) {
  if (of.state === "open")
    return (
      <p class="notice">It runs, and holds {usdExact(of.held_nanodollars)}. Its facts come when it ends.</p>
    );
  const decode = of.ttft_ms === null || of.duration_ms === null ? 0 : of.duration_ms - of.ttft_ms;
  const speed = of.usage && decode > 0 ? (of.usage.completion_tokens * 1_000) / decode : null;
  return (
    <>
      <p class="row">
        <State of={OUTCOME[of.ending ?? ""] ?? "failed"} />
        {of.finish_reason && <span class="tag">{of.finish_reason}</span>}
        <span class="quiet">
          {of.model} in {of.region ?? "no region"},{" "}
          {of.settled_at && fullTime(of.settled_at, zone, Date.now())}
        </span>
      </p>
      <dl class="cells">
        <div>
          <dt>Cost</dt>
          <dd>
            <Money nano={of.cost_nanodollars} request />
          </dd>
          <dd>{of.journal_sequence === null ? "" : `entry ${of.journal_sequence} of the journal`}</dd>
        </div>
        <div>
          <dt>First token</dt>
          <dd>{duration(of.ttft_ms)}</dd>
        </div>
        <div>
          <dt>Total</dt>
          <dd>{duration(of.duration_ms)}</dd>
        </div>
        <div>
          <dt>Speed</dt>
          <dd>{speed === null ? <Unknown /> : speed.toFixed(1)}</dd>
          <dd>tokens/s after the first</dd>
        </div>
      </dl>
      <Timeline spans={of.spans} />
      <Cost of={of} />
      <Placements of={of.placements} />
    </>
  );
}

function Timeline({ spans }: { spans: readonly Span[] }) {
  if (spans.length === 0) return <p class="note">When its steps were is not kept for this request.</p>;
  const end = Math.max(1, ...spans.map(({ end_ms }) => end_ms));
  const place =
    ({ start_ms, end_ms }: Span) =>
    (element: HTMLElement | null) => {
      if (!element) return;
      element.style.marginLeft = `${(start_ms / end) * 100}%`;
      element.style.width = `${Math.max(0.4, ((end_ms - start_ms) / end) * 100)}%`;
    };
  return (
    <>
      <h3>Timeline</h3>
      <table class="timeline">
        <thead>
          <tr>
            <th scope="col">Step</th>
            <th scope="col" class="wide">
              From 0 to {duration(end)}
            </th>
            <th scope="col" class="number">
              Took
            </th>
          </tr>
        </thead>
        <tbody>
          {spans.map((span) => (
            <tr>
              <th scope="row">
                {span.name.replaceAll("_", " ")}
                {span.attempt !== null && ` ${span.attempt}`}
                {span.outcome && <span class="quiet">, {span.outcome.replaceAll("_", " ")}</span>}
              </th>
              <td>
                <span class={`bar ${span.name}`} ref={place(span)} />
                <span class="hidden">from {duration(span.start_ms)}</span>
              </td>
              <td class="number">{duration(span.end_ms - span.start_ms)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

function Cost({ of }: { of: Detail }) {
  if (!of.cost_by_class) return <p class="note">What each class of token cost is not known.</p>;
  return (
    <>
      <h3>Exact cost</h3>
      <Scroll label="Exact cost">
        <table>
          <thead>
            <tr>
              <th scope="col">Class</th>
              <th scope="col" class="number">
                Tokens
              </th>
              <th scope="col" class="number">
                A million
              </th>
              <th scope="col" class="number">
                Cost
              </th>
            </tr>
          </thead>
          <tbody>
            {of.cost_by_class.map((line) => (
              <tr>
                <th scope="row">{line.class.replace("_", " ")}</th>
                <td class="number">{count(line.tokens)}</td>
                <td class="number">{usdRate(line.rate_nanodollars_per_million)}</td>
                <td class="number">{usdExact(line.cost_nanodollars)}</td>
              </tr>
            ))}
          </tbody>
          <tfoot>
            <tr>
              <th scope="row">Total</th>
              <td colSpan={2} class="quiet">
                {usdExact(of.held_nanodollars)} was held
              </td>
              <td class="number">{usdExact(of.cost_nanodollars)}</td>
            </tr>
          </tfoot>
        </table>
      </Scroll>
    </>
  );
}

function Placements({ of }: { of: Detail["placements"] }) {
  return (
    <>
      {of.map(({ attempt, candidates }) => {
        // As they come, in the router's order.
        const terms = [...new Set(candidates.flatMap((one) => Object.keys(one.terms)))];
        return (
          <>
            <h3>Why there, attempt {attempt}</h3>
            <Scroll label={`Candidates of attempt ${attempt}`}>
              <table>
                <thead>
                  <tr>
                    <th scope="col">Backend</th>
                    {terms.map((term) => (
                      <th scope="col" class="number">
                        {term}
                      </th>
                    ))}
                    <th scope="col" class="number">
                      Score
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {candidates.map((one) => (
                    <tr>
                      <th scope="row">
                        <code>{one.backend}</code> {one.region}{" "}
                        {one.chosen && <span class="tag">chosen</span>}
                        {one.excluded_because && <span class="warn"> {one.excluded_because}</span>}
                      </th>
                      {terms.map((term) => (
                        <td class="number">{one.terms[term]?.toPrecision(3) ?? "—"}</td>
                      ))}
                      <td class="number">{one.cost?.toPrecision(4) ?? "—"}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
          </>
        );
      })}
    </>
  );
}
