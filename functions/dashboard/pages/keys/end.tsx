/** Rotating a key, and revoking one. */
import { session } from "../../api.ts";
import { Dialog } from "../../dialog.tsx";
import { Form, textOf } from "../../form.tsx";
import { ago, moment } from "../../format.ts";
import { Overlap } from "../../secret.tsx";
import type { Key, MadeKey } from "./keys.ts";
import { send } from "./send.ts";

export function Rotate({
  of: key,
  onClose,
  onMade,
}: {
  of: Key;
  onClose: () => void;
  onMade: (made: MadeKey) => void;
}) {
  const submit = async (data: FormData) => {
    const overlap = Number(textOf(data, "overlap_seconds"));
    onMade(await send<MadeKey>("POST", `/v1/keys/${key.id}/rotate`, { overlap_seconds: overlap }));
  };
  return (
    <Dialog title={`Rotate ${key.name}`} onClose={onClose}>
      <Form submit={submit} label="Rotate key" onCancel={onClose}>
        <p>
          A new key takes its place, with the same name, scopes and limits. Until the overlap is over both
          work, and both count against the same budgets.
        </p>
        {key.successor && (
          <p class="notice warn">
            It was rotated before. The key that was made then is void from now on, and the deadline does not
            move to later.
          </p>
        )}
        <Overlap
          label={`The old key, …${key.hint}, goes on working for`}
          hint={
            key.id === session.value?.key.id &&
            "You are signed in with it: when it ends, so does this session."
          }
        />
      </Form>
    </Dialog>
  );
}

export function Revoke({
  of: key,
  zone,
  onClose,
  onDone,
}: {
  of: Key;
  zone: string;
  onClose: () => void;
  onDone: (key: Key) => void;
}) {
  const submit = async () => onDone(await send<Key>("DELETE", `/v1/keys/${key.id}`));
  return (
    <Dialog title={`Revoke ${key.name}?`} onClose={onClose}>
      <Form submit={submit} label="Revoke key" danger onCancel={onClose}>
        <p>
          Requests with <span class="mono">…{key.hint}</span> are refused from now on. This cannot be undone;
          what runs goes on to its end.
        </p>
        <p class={key.last_used_at ? "" : "quiet"}>
          {key.last_used_at
            ? `It was last used ${ago(key.last_used_at, Date.now())}, ${moment(key.last_used_at, zone)}.`
            : "It was never used."}
        </p>
        {key.id === session.value?.key.id && (
          <p class="notice warn">You are signed in with this key: this session ends at once.</p>
        )}
      </Form>
    </Dialog>
  );
}
