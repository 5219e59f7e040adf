/** Making a key and changing one: name, scopes that the session's own key has, budgets, limits a minute, its end. */
import { useState } from "preact/hooks";
import { ApiError, session } from "../../api.ts";
import { Dialog } from "../../dialog.tsx";
import { Choices, Field, Form, moneyOf, textOf, wholeOf } from "../../form.tsx";
import { date, usdLimit } from "../../format.ts";
import { useOnce } from "../../once.ts";
import { changed } from "../../query.ts";
import { type Budget, type Key, type MadeKey, SCOPES, type Scope } from "./keys.ts";
import { send } from "./send.ts";

const MEANS: Readonly<Record<Scope, string>> = {
  inference: "call models, and pay for it",
  usage: "read usage, requests, regions and the balance",
  manage: "change keys, budgets, alerts and webhooks, and add credit",
};

const DAY_MS = 86_400_000;
const ENDS = { "": "Never", "30": "In 30 days", "90": "In 90 days", "365": "In a year", on: "On a date …" };

export function Create({ onClose, onMade }: { onClose: () => void; onMade: (made: MadeKey) => void }) {
  const onceFor = useOnce();
  const submit = async (data: FormData) => {
    const body = { ...settingsOf(data), scopes: scopesOf(data), expires_at: endOf(data) };
    // Days from now differ with each try: what is sent again is told by what was typed.
    const once = onceFor([...data.entries()]);
    onMade(await send<MadeKey>("POST", "/v1/keys", body, once).catch(lostAnswer));
  };
  return (
    <Dialog title="Create a key" onClose={onClose}>
      <Form submit={submit} label="Create key" onCancel={onClose}>
        <Name />
        <Scopes />
        <Limits />
        <End />
      </Form>
    </Dialog>
  );
}

export function Change({
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
  const submit = async (data: FormData) => {
    // Scopes that this session may not give are not its to take, and are sent back as they are.
    const kept = key.scopes.filter((scope) => !grants(scope));
    const body = { ...settingsOf(data), scopes: scopesOf(data, kept) };
    const end = textOf(data, "ends") === "keep" ? {} : { expires_at: endOf(data) };
    onDone(await send<Key>("PATCH", `/v1/keys/${key.id}`, { ...body, ...end }));
  };
  return (
    <Dialog title={`Edit ${key.name}`} onClose={onClose}>
      <Form submit={submit} label="Save" onCancel={onClose}>
        <Name of={key} />
        <Scopes of={key} />
        <Limits of={key} />
        {/* A rotated key's deadline stands. */}
        {key.successor ? <KeptEnd /> : <End of={key} zone={zone} />}
      </Form>
    </Dialog>
  );
}

/** It was made, and who asked never heard of it: its secret is nobody's. */
async function lostAnswer(error: Error): Promise<never> {
  if (!(error instanceof ApiError && error.code === "idempotent_request_ended")) throw error;
  await changed("/v1/keys");
  throw new ApiError(
    error.status,
    error.code,
    "The key was made, but the answer with it was lost. It is in the list: rotate it there to get a new one.",
  );
}

const grants = (scope: Scope): boolean => session.value?.key.scopes.includes(scope) ?? false;

/** At least one. */
function scopesOf(data: FormData, kept: readonly Scope[] = []): string[] {
  const scopes = [...data.getAll("scopes").map(String), ...kept];
  if (scopes.length > 0) return scopes;
  throw new ApiError(400, "invalid_value", "Choose at least one.", "scopes");
}

const settingsOf = (data: FormData) => ({
  name: textOf(data, "name"),
  budgets: { day: moneyOf(data, "budgets.day"), month: moneyOf(data, "budgets.month") },
  requests_per_minute: wholeOf(data, "requests_per_minute"),
  tokens_per_minute: wholeOf(data, "tokens_per_minute"),
});

/** A date ends with its UTC day. */
function endOf(data: FormData): string | null {
  const ends = textOf(data, "ends");
  if (ends === "on") return `${textOf(data, "expires_at")}T23:59:59Z`;
  return ends === "" ? null : new Date(Date.now() + Number(ends) * DAY_MS).toISOString();
}

function Name({ of: key }: { of?: Key }) {
  return (
    <Field
      name="name"
      label="Name"
      hint="Where it is used, such as production-web. Usage and the journal show it."
      required
      maxLength={200}
      defaultValue={key?.name ?? ""}
      autofocus
      spellcheck={false}
    />
  );
}

function Scopes({ of: key }: { of?: Key }) {
  const has = key?.scopes ?? ["inference"];
  const others = has.filter((scope) => !grants(scope));
  return (
    <Choices
      name="scopes"
      label="It may"
      hint={others.length > 0 && `It keeps ${others.join(", ")}, which your own key lacks.`}
    >
      {SCOPES.filter(grants).map((scope) => (
        <label>
          <input type="checkbox" name="scopes" value={scope} defaultChecked={has.includes(scope)} />
          <span>
            <b>{scope}</b>: {MEANS[scope]}
          </span>
        </label>
      ))}
    </Choices>
  );
}

function Limits({ of: key }: { of?: Key }) {
  const money = { inputMode: "decimal", placeholder: "none" } as const;
  const whole = { inputMode: "numeric", placeholder: "none" } as const;
  return (
    <>
      <div class="pair">
        <Field
          name="budgets.day"
          label="Budget a day, USD"
          {...money}
          defaultValue={limitOf(key?.budgets.day)}
        />
        <Field
          name="budgets.month"
          label="Budget a month, USD"
          {...money}
          defaultValue={limitOf(key?.budgets.month)}
        />
        <p class="note across">
          By UTC days and months. What does not fit is refused before it runs, whatever runs at the same time.
        </p>
      </div>
      <div class="pair">
        <Field
          name="requests_per_minute"
          label="Requests a minute"
          {...whole}
          defaultValue={key?.requests_per_minute ?? ""}
        />
        <Field
          name="tokens_per_minute"
          label="Tokens a minute"
          {...whole}
          defaultValue={key?.tokens_per_minute ?? ""}
        />
      </div>
    </>
  );
}

/** As it would be typed. */
const limitOf = (budget: Budget | null | undefined): string =>
  budget ? usdLimit(budget.limit_nanodollars).replace(/[$,]/g, "") : "";

function KeptEnd() {
  return <input type="hidden" name="ends" value="keep" />;
}

function End({ of: key, zone }: { of?: Key; zone?: string }) {
  const isKept = key?.expires_at != null;
  const [ends, setEnds] = useState(isKept ? "keep" : key ? "" : "90");
  return (
    <div class="pair">
      <Field name="ends" label="It ends">
        {(attributes) => (
          <select {...attributes} onChange={(event) => setEnds(event.currentTarget.value)}>
            {isKept && (
              <option value="keep" selected>
                As now: {date(key.expires_at!, zone!)}
              </option>
            )}
            {Object.entries(ENDS).map(([value, label]) => (
              <option value={value} selected={!isKept && value === (key ? "" : "90")}>
                {label}
              </option>
            ))}
          </select>
        )}
      </Field>
      {ends === "on" && (
        <Field name="expires_at" label="With this UTC day" type="date" min={tomorrow()} required />
      )}
    </div>
  );
}

const tomorrow = (): string => new Date(Date.now() + DAY_MS).toISOString().slice(0, 10);
