/** Making, changing and deleting an endpoint, and its secret, which is shown once. */
import { ApiError, api } from "../../api.ts";
import { Dialog } from "../../dialog.tsx";
import { Choices, Field, Form, textOf } from "../../form.tsx";
import { moment } from "../../format.ts";
import { useOnce } from "../../once.ts";
import { changed } from "../../query.ts";
import { Overlap, ShownOnce } from "../../secret.tsx";
import { type Endpoint, EVENTS, type EventType, type MadeEndpoint } from "./endpoint.ts";

export function EditEndpoint({
  of: endpoint,
  onClose,
  onDone,
}: {
  of?: Endpoint;
  onClose: () => void;
  onDone: (endpoint: Endpoint | MadeEndpoint) => void;
}) {
  const onceFor = useOnce();
  const submit = async (data: FormData) => {
    const events = data.getAll("events").map(String);
    if (events.length === 0) throw new ApiError(400, "invalid_value", "Choose at least one.", "events");
    const body = { url: textOf(data, "url"), description: textOf(data, "description"), events };
    const answer = endpoint
      ? await api<Endpoint>(`/v1/webhooks/${endpoint.id}`, { method: "PATCH", body })
      : await api<MadeEndpoint>("/v1/webhooks", { method: "POST", body, once: onceFor(body) }).catch(
          lostAnswer,
        );
    await changed("/v1/webhooks");
    onDone(answer);
  };
  return (
    <Dialog title={endpoint ? "Edit the endpoint" : "Add an endpoint"} onClose={onClose}>
      <Form submit={submit} label={endpoint ? "Save" : "Add endpoint"} onCancel={onClose}>
        <Field
          name="url"
          label="Address"
          hint="https, and reachable from the internet."
          placeholder="https://example.com/webhooks"
          defaultValue={endpoint?.url ?? ""}
          maxLength={2000}
          required
          autofocus
          spellcheck={false}
        />
        <Field
          name="description"
          label="Description"
          placeholder="optional"
          defaultValue={endpoint?.description ?? ""}
          maxLength={200}
        />
        <Choices name="events" label="Events">
          {(Object.entries(EVENTS) as [EventType, string][]).map(([type, text]) => (
            <label>
              <input
                type="checkbox"
                name="events"
                value={type}
                defaultChecked={endpoint?.events.includes(type) ?? true}
              />
              <span>
                <b>{type}</b>: {text}
              </span>
            </label>
          ))}
        </Choices>
      </Form>
    </Dialog>
  );
}

/** It was made, and who asked never heard of it: its secret is nobody's. */
async function lostAnswer(error: Error): Promise<never> {
  if (!(error instanceof ApiError && error.code === "idempotent_request_ended")) throw error;
  await changed("/v1/webhooks");
  throw new ApiError(
    error.status,
    error.code,
    "The endpoint was made, but the answer with its secret was lost. It is in the list: rotate its secret there.",
  );
}

export function RotateSecret({
  of: endpoint,
  onClose,
  onMade,
}: {
  of: Endpoint;
  onClose: () => void;
  onMade: (made: MadeEndpoint) => void;
}) {
  const submit = async (data: FormData) => {
    const body = { overlap_seconds: Number(textOf(data, "overlap_seconds")) };
    const made = await api<MadeEndpoint>(`/v1/webhooks/${endpoint.id}/rotate`, { method: "POST", body });
    await changed("/v1/webhooks");
    onMade(made);
  };
  return (
    <Dialog title="Rotate the signing secret" onClose={onClose}>
      <Form submit={submit} label="Rotate secret" onCancel={onClose}>
        <p>Until the overlap is over each delivery carries a signature of both, so that you can move over.</p>
        <Overlap label={`The secret …${endpoint.secrets[0]?.hint ?? ""} goes on signing for`} />
      </Form>
    </Dialog>
  );
}

export function Remove({
  of: endpoint,
  onClose,
  onDone,
}: {
  of: Endpoint;
  onClose: () => void;
  onDone: () => void;
}) {
  const submit = async () => {
    await api(`/v1/webhooks/${endpoint.id}`, { method: "DELETE" });
    await changed("/v1/webhooks");
    onDone();
  };
  return (
    <Dialog title="Delete the endpoint?" onClose={onClose}>
      <Form submit={submit} label="Delete endpoint" danger onCancel={onClose}>
        <p class="url">
          {endpoint.url} is told nothing more, and the list of what was sent to it goes. This cannot be
          undone.
        </p>
      </Form>
    </Dialog>
  );
}

export function Secret({
  of: endpoint,
  zone,
  onClose,
}: {
  of: MadeEndpoint;
  zone: string;
  onClose: () => void;
}) {
  const former = endpoint.secrets.find(({ expires_at }) => expires_at !== null);
  return (
    <ShownOnce title="The signing secret" secret={endpoint.secret} copy="Copy secret" onClose={onClose}>
      <p class="url">
        Deliveries to {endpoint.url} are signed with it. The libraries of Standard Webhooks take it as it is.
      </p>
      {former?.expires_at && (
        <p>
          The old one, <span class="mono">…{former.hint}</span>, signs beside it until{" "}
          {moment(former.expires_at, zone)} ({zone}).
        </p>
      )}
    </ShownOnce>
  );
}
