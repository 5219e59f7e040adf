/** A key that was just made, shown this once, with a line that tries it. */
import { session } from "../../api.ts";
import { moment } from "../../format.ts";
import { Copy } from "../../parts.tsx";
import { useApi } from "../../query.ts";
import { ShownOnce } from "../../secret.tsx";
import { hasEnded, type Key, type MadeKey } from "./keys.ts";

export interface Shown {
  readonly key: MadeKey;
  /** The key that it follows. */
  readonly former?: Key;
}

export function Made({
  made: { key, former },
  zone,
  keys,
  onClose,
}: {
  made: Shown;
  zone: string;
  keys: readonly Key[];
  onClose: () => void;
}) {
  const curl = useCurl(key);
  return (
    <ShownOnce
      title={former ? `The new key of ${key.name}` : `The key ${key.name}`}
      secret={key.key}
      copy="Copy key"
      onClose={onClose}
    >
      {former && <Former former={keys.find(({ id }) => id === former.id) ?? former} zone={zone} />}
      <h3>Try it</h3>
      <div class="secret">
        <pre>{curl}</pre>
        <Copy text={curl} label="Copy command" />
      </div>
    </ShownOnce>
  );
}

function Former({ former, zone }: { former: Key; zone: string }) {
  const old = <span class="mono">…{former.hint}</span>;
  if (hasEnded(former) || !former.expires_at) return <p>The old key, {old}, has ended.</p>;
  return (
    <p>
      The old key, {old}, works until {moment(former.expires_at, zone)} ({zone}). Move what uses it by then.
    </p>
  );
}

/** What the key may do decides what tries it. */
function useCurl({ key, scopes }: MadeKey): string {
  // The session's own key may lack the scope that lists models: then the line names what to fill in.
  const mayList = session.value?.key.scopes.includes("inference");
  const models = useApi<{ data: { id: string }[] }>(mayList ? "/v1/models" : null).data?.data;
  const line = (path: string, ...more: string[]) =>
    [`curl ${location.origin}/v1/${path}`, `-H "Authorization: Bearer ${key}"`, ...more].join(" \\\n  ");
  if (!scopes.includes("inference")) return line(scopes.includes("usage") ? "balance" : "keys");
  const body = { model: models?.[0]?.id ?? "MODEL", messages: [{ role: "user", content: "Hello" }] };
  return line("chat/completions", '-H "Content-Type: application/json"', `-d '${JSON.stringify(body)}'`);
}
