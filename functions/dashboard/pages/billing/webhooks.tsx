/** Whom events are sent to: the list of endpoints, and the open one with its deliveries. */
import { useEffect, useState } from "preact/hooks";
import { useLocation } from "preact-iso/router";
import { Failed, Loading, State } from "../../parts.tsx";
import { useApi } from "../../query.ts";
import { changedQuery } from "../../state.ts";
import { Deliveries } from "./deliveries.tsx";
import type { Endpoint, MadeEndpoint } from "./endpoint.ts";
import { EditEndpoint, Remove, RotateSecret, Secret } from "./endpoint-forms.tsx";
import { OneEndpoint } from "./one-endpoint.tsx";

export type Doing =
  | { readonly what: "create" }
  | { readonly what: "made"; readonly endpoint: MadeEndpoint; readonly isNew: boolean }
  | { readonly what: "change" | "rotate" | "remove"; readonly endpoint: Endpoint };

export function Webhooks({ zone }: { zone: string }) {
  const { path, query, route } = useLocation();
  const { data, error, refetch } = useApi<{ data: Endpoint[] }>("/v1/webhooks", 15_000);
  const [doing, setDoing] = useState<Doing>();
  const [next, setNext] = useState<string>();
  // What was made gets the focus once its dialog is gone; where one was deleted, the button for another.
  useEffect(() => {
    const element = !doing && next && document.getElementById(next);
    if (!element) return;
    element.focus();
    setNext(undefined);
  }, [doing, next, data]);
  if (!data) return error ? <Failed error={error} again={refetch} /> : <Loading what="the endpoints" />;
  const open = data.data.find(({ id }) => id === query.endpoint) ?? data.data[0];
  const at = (id: string | null) => path + changedQuery(query, { endpoint: id, deliveries: null });
  const close = () => setDoing(undefined);
  const madeOne = ({ endpoint, isNew }: { endpoint: Endpoint; isNew: boolean }) => {
    if (isNew) route(at(endpoint.id), true);
    setNext(isNew ? `endpoint-${endpoint.id}` : "rotate-secret");
    close();
  };
  return (
    <>
      <section class="panel" aria-labelledby="endpoints">
        <header>
          <h2 id="endpoints">Endpoints</h2>
          <button type="button" id="add-endpoint" onClick={() => setDoing({ what: "create" })}>
            Add endpoint
          </button>
        </header>
        {error && <Failed error={error} again={refetch} />}
        {data.data.length === 0 ? (
          <div class="empty">
            <p>
              An https address of yours that is told of a low balance, spending, refused requests, revoked
              keys and regions that fail. Deliveries are signed as{" "}
              <a href="https://www.standardwebhooks.com" rel="noreferrer">
                Standard Webhooks
              </a>{" "}
              has it and tried again for four days.
            </p>
          </div>
        ) : (
          <ul class="endpoints">
            {data.data.map((endpoint) => (
              <li>
                <a
                  id={`endpoint-${endpoint.id}`}
                  href={at(endpoint.id)}
                  aria-current={endpoint.id === open?.id ? "true" : undefined}
                >
                  <span class="url">{endpoint.url}</span>
                  <span class="below">
                    {[endpoint.description, `${endpoint.events.length} event types`]
                      .filter(Boolean)
                      .join(" · ")}
                  </span>
                  <State of={endpoint.state} />
                </a>
              </li>
            ))}
          </ul>
        )}
      </section>
      {open && (
        <OneEndpoint of={open} zone={zone} act={setDoing}>
          <Deliveries of={open} zone={zone} key={open.id} />
        </OneEndpoint>
      )}
      {doing?.what === "create" && (
        <EditEndpoint
          onClose={close}
          onDone={(made) => setDoing({ what: "made", endpoint: made as MadeEndpoint, isNew: true })}
        />
      )}
      {doing?.what === "change" && <EditEndpoint of={doing.endpoint} onClose={close} onDone={close} />}
      {doing?.what === "rotate" && (
        <RotateSecret
          of={doing.endpoint}
          onClose={close}
          onMade={(endpoint) => setDoing({ what: "made", endpoint, isNew: false })}
        />
      )}
      {doing?.what === "remove" && (
        <Remove
          of={doing.endpoint}
          onClose={close}
          onDone={() => {
            route(at(null), true);
            setNext("add-endpoint");
            close();
          }}
        />
      )}
      {doing?.what === "made" && <Secret of={doing.endpoint} zone={zone} onClose={() => madeOne(doing)} />}
    </>
  );
}
