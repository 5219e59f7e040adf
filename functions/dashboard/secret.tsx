/** What keys and signing secrets share: a secret is shown once, and the one that it follows works on for a while. */
import type { ComponentChildren } from "preact";
import { Dialog } from "./dialog.tsx";
import { Field } from "./form.tsx";
import { Copy } from "./parts.tsx";

/** What was just made. Closed only on purpose: it cannot be read again. */
export function ShownOnce({
  title,
  secret,
  copy,
  onClose,
  children,
}: {
  title: string;
  secret: string;
  /** The label of the button that copies it. */
  copy: string;
  onClose: () => void;
  children: ComponentChildren;
}) {
  return (
    <Dialog title={title} onClose={onClose} kept>
      <div class="told">
        <p class="notice warn">
          <b>Copy it now.</b> It is shown this once and cannot be read again.
        </p>
        <div class="secret">
          <code>{secret}</code>
          <Copy text={secret} label={copy} />
        </div>
        {children}
        <div class="form-end">
          <button type="button" class="primary" onClick={onClose}>
            I have kept it
          </button>
        </div>
      </div>
    </Dialog>
  );
}

/** How long what was rotated goes on, in seconds, as it is offered. The API takes any whole number up to a week. */
const OVERLAPS: Readonly<Record<string, string>> = {
  "0": "no longer: it ends now",
  "3600": "an hour",
  "86400": "a day",
  "604800": "a week",
};

/** How long the old one goes on, in a rotation's form. */
export function Overlap({ label, hint }: { label: string; hint?: ComponentChildren }) {
  return (
    <Field name="overlap_seconds" label={label} hint={hint}>
      {(attributes) => (
        <select {...attributes}>
          {Object.entries(OVERLAPS).map(([value, text]) => (
            <option value={value} selected={value === "86400"}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}
