/** What was sent to an endpoint, each attempt of it, and sending it again. */
import { useLocation } from "preact-iso/router";
import { api } from "../../api.ts";
import { clock, duration, fullTime, moment } from "../../format.ts";
import { Action, Failed, Loading, State } from "../../parts.tsx";
import { changed, useApi } from "../../query.ts";
import { changedQuery } from "../../state.ts";
import type { Delivery, Endpoint } from "./endpoint.ts";

interface Page {
  readonly data: readonly Delivery[];
  readonly next_before: string | null;
}

const SOON_MS = 2_000;
const LATER_MS = 10_000;

export function Deliveries({ of: endpoint, zone }: { of: Endpoint; zone: string }) {
  const { path, query } = useLocation();
  const { deliveries: before } = query;
  const own = `/v1/webhooks/${endpoint.id}/deliveries?limit=20`;
  const address = before ? `${own}&before=${encodeURIComponent(before)}` : own;
  // What is on its way is looked at more often. The same path twice is one question.
  const isMoving = useApi<Page>(address).data?.data.some(({ state }) => state === "pending");
  const { data, error, refetch } = useApi<Page>(address, isMoving ? SOON_MS : LATER_MS);
  const to = (next: string | null) => path + changedQuery(query, { deliveries: next });
  const now = Date.now();
  return (
    <div class="deliveries">
      <h3>Deliveries, newest first</h3>
      {error && <Failed error={error} again={refetch} />}
      {!data && !error && <Loading what="deliveries" />}
      {data?.data.length === 0 && (
        <p class="note">
          {before ? "Nothing is older than that." : "Nothing was sent yet. A test event tries it."}
        </p>
      )}
      <ol>
        {data?.data.map((delivery) => (
          <Sent
            of={delivery}
            isEnabled={endpoint.state === "enabled"}
            zone={zone}
            now={now}
            key={delivery.id}
          />
        ))}
      </ol>
      {(before || data?.next_before) && (
        <nav class="pages" aria-label="Pages of deliveries">
          {before && <a href={to(null)}>Newest</a>}
          {data?.next_before && <a href={to(data.next_before)}>Older</a>}
        </nav>
      )}
    </div>
  );
}

function Sent({
  of: { id, event, state, attempts, next_attempt_at: next },
  isEnabled,
  zone,
  now,
}: {
  of: Delivery;
  isEnabled: boolean;
  zone: string;
  now: number;
}) {
  const again = async () => {
    await api(`/v1/webhooks/deliveries/${id}/replay`, { method: "POST" });
    await changed("/v1/webhooks");
  };
  return (
    <li id={`delivery-${id}`} tabIndex={-1}>
      <div class="sent">
        <State of={state} />
        <p>
          <b>{event.type}</b>{" "}
          <span title={fullTime(event.created_at, zone, now)}>{moment(event.created_at, zone)}</span>
          <span class="below mono">{event.id}</span>
        </p>
        {isEnabled && state !== "pending" && (
          <span class="push">
            <Action label="Replay" run={again} />
          </span>
        )}
      </div>
      {attempts.length > 0 && (
        <ol class="attempts" aria-label={`Attempts of ${event.id}`}>
          {attempts.map((attempt) => (
            <li>
              <span title={fullTime(attempt.at, zone, now)}>
                {moment(attempt.at, zone)}:{clock(attempt.at, zone).slice(-2)}
              </span>
              <span class={wasHeard(attempt) ? "good" : "bad"}>{attempt.status ?? "no answer"}</span>
              <span>{duration(attempt.duration_ms)}</span>
              {attempt.error && <span class="why">{attempt.error}</span>}
            </li>
          ))}
        </ol>
      )}
      {state === "pending" && (
        <p class="note">
          {next && Date.parse(next) > now
            ? `Next attempt ${moment(next, zone)}:${clock(next, zone).slice(-2)}`
            : "On its way"}
        </p>
      )}
    </li>
  );
}

const wasHeard = ({ status }: { status: number | null }): boolean =>
  status !== null && status >= 200 && status < 300;
