/** The open endpoint: what it asks for, how it stands, and what can be done with it. */
import type { ComponentChildren } from "preact";
import { api } from "../../api.ts";
import { moment } from "../../format.ts";
import { Action, State } from "../../parts.tsx";
import { changed } from "../../query.ts";
import type { Delivery, Endpoint } from "./endpoint.ts";
import type { Doing } from "./webhooks.tsx";

export function OneEndpoint({
  of: endpoint,
  zone,
  act,
  children,
}: {
  of: Endpoint;
  zone: string;
  act: (doing: Doing) => void;
  children: ComponentChildren;
}) {
  const isEnabled = endpoint.state === "enabled";
  const path = `/v1/webhooks/${endpoint.id}`;
  const test = async () => {
    const { id } = await api<Delivery>(`${path}/test`, { method: "POST" });
    await changed(path);
    document.getElementById(`delivery-${id}`)?.focus();
  };
  const turn = async () => {
    await api(path, { method: "PATCH", body: { state: isEnabled ? "disabled" : "enabled" } });
    await changed("/v1/webhooks");
  };
  return (
    <section class="panel endpoint" aria-labelledby="endpoint">
      <header>
        <h2 id="endpoint" class="url">
          {endpoint.url}
        </h2>
        <State of={endpoint.state} />
      </header>
      <div class="body">
        {!isEnabled && (
          <p class="notice warn">
            {endpoint.disabled_because ?? "It is disabled."} Nothing is sent to it until it is enabled; what
            was given up meanwhile can be replayed.
          </p>
        )}
        <p class="tags">
          {endpoint.events.map((type) => (
            <span class="tag">{type}</span>
          ))}
        </p>
        <p class="note">
          Made {moment(endpoint.created_at, zone)}. Signed with the secret{" "}
          {endpoint.secrets.map(({ hint, expires_at }, i) => (
            <>
              {i > 0 && " and "}
              <span class="mono">…{hint}</span>
              {expires_at && ` until ${moment(expires_at, zone)}`}
            </>
          ))}
          .
        </p>
        <div class="row" key={endpoint.id}>
          {isEnabled && <Action label="Send test event" run={test} />}
          <Action label={isEnabled ? "Disable" : "Enable"} run={turn} />
          <button type="button" onClick={() => act({ what: "change", endpoint })}>
            Edit
          </button>
          <button type="button" id="rotate-secret" onClick={() => act({ what: "rotate", endpoint })}>
            Rotate secret
          </button>
          <button type="button" class="danger" onClick={() => act({ what: "remove", endpoint })}>
            Delete
          </button>
        </div>
      </div>
      {children}
    </section>
  );
}
