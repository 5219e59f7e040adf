/** Who can spend, how much, and which key somebody forgot. */
import { useEffect, useState } from "preact/hooks";
import { useLocation } from "preact-iso/router";
import { may } from "../api.ts";
import { Failed, Head, Loading } from "../parts.tsx";
import { useApi } from "../query.ts";
import { readView } from "../state.ts";
import { Change, Create } from "./keys/edit.tsx";
import { Revoke, Rotate } from "./keys/end.tsx";
import { hasEnded, inOrder, type Key, summary } from "./keys/keys.ts";
import { Made, type Shown } from "./keys/made.tsx";
import { Table } from "./keys/table.tsx";

export type Open =
  | { readonly what: "create" }
  | { readonly what: "made"; readonly made: Shown }
  | { readonly what: "change" | "rotate" | "revoke"; readonly key: Key };

const ownZone = Intl.DateTimeFormat().resolvedOptions().timeZone;

export default function Keys() {
  const { zone } = readView(useLocation().query, ownZone);
  const [open, setOpen] = useState<Open>();
  const [next, setNext] = useState<string>();
  const [showEnded, setShowEnded] = useState(false);
  const { data, error, refetch } = useApi<{ data: Key[] }>(may("manage") ? "/v1/keys" : null, 15_000);
  // What was made or changed gets the focus, once its dialog is gone and its row is there.
  useEffect(() => {
    const row = !open && next && document.getElementById(`row-${next}`);
    if (!row) return;
    row.focus();
    setNext(undefined);
  }, [open, next, data]);
  const close = () => setOpen(undefined);
  const done = (key: Key) => {
    setNext(key.id);
    if (hasEnded(key)) setShowEnded(true);
    close();
  };
  const now = Date.now();
  return (
    <>
      <Head
        title="Keys"
        about={data ? `${summary(data.data, now)} · times in ${zone}` : "Who can spend, and how much"}
      >
        {may("manage") && (
          <button type="button" class="primary" onClick={() => setOpen({ what: "create" })}>
            Create key
          </button>
        )}
      </Head>
      {!may("manage") && (
        <p class="notice">Keys are shown to a session whose own key has the scope “manage”.</p>
      )}
      {error && <Failed error={error} again={refetch} />}
      {data && (
        <Table
          keys={inOrder(data.data)}
          zone={zone}
          now={now}
          open={setOpen}
          showEnded={showEnded}
          setShowEnded={setShowEnded}
        />
      )}
      {!data && !error && may("manage") && <Loading what="keys" />}
      {open?.what === "create" && (
        <Create onClose={close} onMade={(key) => setOpen({ what: "made", made: { key } })} />
      )}
      {open?.what === "change" && <Change of={open.key} zone={zone} onClose={close} onDone={done} />}
      {open?.what === "rotate" && (
        <Rotate
          of={open.key}
          onClose={close}
          onMade={(key) => setOpen({ what: "made", made: { key, former: open.key } })}
        />
      )}
      {open?.what === "revoke" && <Revoke of={open.key} zone={zone} onClose={close} onDone={done} />}
      {open?.what === "made" && (
        <Made made={open.made} zone={zone} keys={data?.data ?? []} onClose={() => done(open.made.key)} />
      )}
    </>
  );
}
