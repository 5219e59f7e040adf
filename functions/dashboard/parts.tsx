/** What every page is made of: its header, amounts, states, and what stands where data is missing. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "./api.ts";
import { leadingZeros, UNKNOWN, usd, usdExact, usdRequest } from "./format.ts";
import { Icon, type IconName } from "./icon.tsx";

export function Head({
  title,
  about,
  children,
}: {
  title: string;
  about?: string;
  children?: ComponentChildren;
}) {
  useEffect(() => {
    document.title = `${title} · Causeway`;
  }, [title]);
  return (
    <header class="head">
      <div>
        <h1>{title}</h1>
        <p>{about}</p>
      </div>
      {children && <div class="tools">{children}</div>}
    </header>
  );
}

/** Unknown is a dash, said as a word. */
export function Unknown() {
  return (
    <>
      <span aria-hidden="true">{UNKNOWN}</span>
      <span class="hidden">unknown</span>
    </>
  );
}

/** An amount; hovering shows all nine digits. */
export function Money({ nano, request = false }: { nano: string | null; request?: boolean }) {
  if (nano === null) return <Unknown />;
  if (!request) return <span title={usdExact(nano)}>{usd(nano)}</span>;
  const text = usdRequest(nano);
  const quiet = leadingZeros(text);
  return (
    <span title={usdExact(nano)}>
      {quiet > 0 && <span class="quiet">{text.slice(0, quiet)}</span>}
      {text.slice(quiet)}
      {nano === "0" && <span class="quiet"> free</span>}
    </span>
  );
}

const STATES: Readonly<Record<string, readonly [string, IconName, string]>> = {
  finished: ["good", "check", "Finished"],
  healthy: ["good", "check", "Healthy"],
  active: ["good", "check", "Active"],
  enabled: ["good", "check", "Enabled"],
  delivered: ["good", "check", "Delivered"],
  client_left: ["quiet", "logOut", "Client left"],
  revoked: ["quiet", "cross", "Revoked"],
  expired: ["quiet", "cross", "Expired"],
  unknown: ["quiet", "warn", "Unknown"],
  up: ["good", "check", "Up"],
  draining: ["warn", "drain", "Draining"],
  resting: ["bad", "cross", "Resting"],
  ejected: ["warn", "warn", "Ejected"],
  misconfigured: ["bad", "warn", "Misconfigured"],
  degraded: ["warn", "warn", "Degraded"],
  expiring: ["warn", "warn", "Expiring"],
  pending: ["warn", "warn", "Pending"],
  refused: ["warn", "cross", "Refused"],
  disabled: ["bad", "cross", "Disabled"],
  running: ["quiet", "chart", "Running"],
  awaited: ["warn", "warn", "Awaiting count"],
  failed: ["bad", "cross", "Failed"],
  down: ["bad", "cross", "Down"],
};

/** Never by colour alone: an icon and a word. */
export function State({ of }: { of: string }) {
  const [tone, icon, word] = STATES[of] ?? (["quiet", "warn", of] as const);
  return (
    <span class={`state ${tone}`}>
      <Icon name={icon} />
      {word}
    </span>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <div class="loading" aria-busy="true">
      Loading {what} …
    </div>
  );
}

export function Failed({ error, again }: { error: Error; again?: () => void }) {
  return (
    <div class="notice bad" role="alert">
      {error.message} {error instanceof ApiError && <code>{error.code}</code>}{" "}
      {again && (
        <button type="button" onClick={again}>
          Try again
        </button>
      )}
    </div>
  );
}

export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  const [said, setSaid] = useState(label);
  const copy = async () => {
    try {
      // Without https, but for this machine, a browser has no clipboard to give.
      await navigator.clipboard.writeText(text);
      setSaid("Copied");
    } catch {
      setSaid("Not allowed: select it");
    }
  };
  return (
    <button type="button" onClick={copy}>
      {said}
    </button>
  );
}

/** A table that scrolls within its panel, also by the keyboard. */
export function Scroll({ label, children }: { label: string; children: ComponentChildren }) {
  const box = useRef<HTMLElement>(null);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by the keyboard
    <section class="scroll" ref={box} tabIndex={0} aria-label={label}>
      {children}
    </section>
  );
}

/** A button that runs something once and shows what it was refused with. */
export function Action({
  label,
  run,
  danger = false,
}: {
  label: string;
  run: () => Promise<unknown>;
  danger?: boolean;
}) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Error>();
  const go = async () => {
    setBusy(true);
    setError(undefined);
    await run().catch(setError);
    setBusy(false);
  };
  return (
    <>
      <button type="button" class={danger ? "danger" : ""} disabled={busy} onClick={go}>
        {label}
      </button>
      {error && <Failed error={error} />}
    </>
  );
}
