/** Forms: they send once at a time, keep what was typed, and say what was refused beside the field it is about. */
import "./styles/form.css";
import { type ComponentChildren, createContext } from "preact";
import { useContext, useEffect, useId, useRef, useState } from "preact/hooks";
import { ApiError } from "./api.ts";
import { Icon } from "./icon.tsx";
import { Failed } from "./parts.tsx";

interface Refused {
  readonly error: Error;
  /** The name of the field that it is about, where the form has it. */
  readonly field: string | undefined;
}

const Refusal = createContext<Refused | undefined>(undefined);

export function Form({
  submit,
  label,
  danger = false,
  done = "",
  onCancel,
  children,
}: {
  submit: (data: FormData) => Promise<unknown>;
  label: string;
  danger?: boolean;
  /** What to say once it was accepted, for a form that stays. */
  done?: string;
  onCancel?: () => void;
  children?: ComponentChildren;
}) {
  const form = useRef<HTMLFormElement>(null);
  const [isBusy, setBusy] = useState(false);
  const [refused, setRefused] = useState<Refused>();
  const [isDone, setDone] = useState(false);
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    if (isBusy) return;
    setBusy(true);
    setRefused(undefined);
    setDone(false);
    await submit(new FormData(event.currentTarget as HTMLFormElement)).then(
      () => setDone(true),
      (error: Error) => setRefused({ error, field: fieldOf(error, form.current) }),
    );
    setBusy(false);
  };
  useEffect(() => {
    if (refused?.field) inputOf(form.current, refused.field)?.focus();
  }, [refused]);
  return (
    <form class="form" ref={form} onSubmit={send} onInput={() => setDone(false)} aria-busy={isBusy}>
      <Refusal.Provider value={refused}>{children}</Refusal.Provider>
      {refused && !refused.field && <Failed error={refused.error} />}
      <div class="form-end">
        {done && (
          <p class="good" role="status">
            {isDone && done}
          </p>
        )}
        {onCancel && (
          <button type="button" onClick={onCancel}>
            Cancel
          </button>
        )}
        <button type="submit" class={danger ? "primary danger" : "primary"} disabled={isBusy}>
          {label}
        </button>
      </div>
    </form>
  );
}

/** The API names a part of a list by its place: `scopes.0`. */
function fieldOf(error: Error, form: HTMLFormElement | null): string | undefined {
  const param = error instanceof ApiError ? error.param : null;
  return [param, param?.replace(/\.\d+$/, "")].find((name) => name && inputOf(form, name)) ?? undefined;
}

function inputOf(form: HTMLFormElement | null, name: string): HTMLElement | undefined {
  return [...(form?.querySelectorAll<HTMLInputElement>("input, select") ?? [])].find(
    (input) => input.name === name && !input.disabled,
  );
}

/** `'url' is refused: ...` stays; `'budgets.day': must ...` has its field beside it already. */
function about(error: Error): string {
  const text = error.message.replace(/^'[^']*': /, "");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function useSaid(name: string): string | undefined {
  const refused = useContext(Refusal);
  return refused?.field === name ? about(refused.error) : undefined;
}

/** Its hint and what was refused of it, where there are any. */
const describedBy = (said: string | undefined, hint: ComponentChildren, id: string): string | undefined =>
  [hint && `${id}-hint`, said && `${id}-said`].filter(Boolean).join(" ") || undefined;

interface Input {
  readonly type?: "text" | "date" | "url";
  readonly defaultValue?: string | number;
  readonly placeholder?: string;
  readonly inputMode?: "decimal" | "numeric";
  readonly min?: string;
  readonly maxLength?: number;
  readonly required?: boolean;
  readonly autofocus?: boolean;
  readonly spellcheck?: boolean;
}

export function Field({
  name,
  label,
  hint,
  children,
  ...input
}: {
  name: string;
  label: string;
  hint?: ComponentChildren;
  /** A select in the input's place: it gets the attributes. */
  children?: (attributes: object) => ComponentChildren;
} & Input) {
  const id = useId();
  const said = useSaid(name);
  const attributes = {
    id,
    name,
    "aria-describedby": describedBy(said, hint, id),
    "aria-invalid": said ? true : undefined,
  };
  const typed = { autocomplete: "off", ...input, ...attributes };
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children ? children(attributes) : <input {...(typed as object)} />}
      <About id={id} hint={hint} said={said} />
    </div>
  );
}

/** Boxes of one name, of which any may be ticked. */
export function Choices({
  name,
  label,
  hint,
  children,
}: {
  name: string;
  label: string;
  hint?: ComponentChildren;
  children: ComponentChildren;
}) {
  const id = useId();
  const said = useSaid(name);
  return (
    <fieldset class="choices" aria-describedby={describedBy(said, hint, id)}>
      <legend>{label}</legend>
      {children}
      <About id={id} hint={hint} said={said} />
    </fieldset>
  );
}

function About({ id, hint, said }: { id: string; hint: ComponentChildren; said: string | undefined }) {
  return (
    <>
      {hint && (
        <p class="note" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      {said && (
        <p class="said" id={`${id}-said`} role="alert">
          <Icon name="warn" />
          {said}
        </p>
      )}
    </>
  );
}

export const textOf = (data: FormData, name: string): string => String(data.get(name) ?? "").trim();

/** As people write money; the API has the last word. Empty is none. */
export const moneyOf = (data: FormData, name: string): string | null =>
  textOf(data, name).replace(/^\$\s*|,/g, "") || null;

/** A whole number where it is one, and otherwise what was typed, for the API to refuse. Empty is none. */
export function wholeOf(data: FormData, name: string): number | string | null {
  const text = textOf(data, name).replaceAll(",", "");
  if (text === "") return null;
  return /^\d+$/.test(text) ? Number(text) : text;
}
