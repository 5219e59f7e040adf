/** Adding credit: paid on Stripe's own page, or, where none is configured, how an operator credits. */
import { ApiError, api, session } from "../../api.ts";
import { Dialog } from "../../dialog.tsx";
import { Field, Form, moneyOf } from "../../form.tsx";
import { useOnce } from "../../once.ts";
import { Copy, Failed, Loading } from "../../parts.tsx";
import { useApi } from "../../query.ts";

export function TopUp({ onClose }: { onClose: () => void }) {
  const { data, error, refetch } = useApi<{ checkout: boolean }>("/v1/billing");
  const onceFor = useOnce();
  const submit = async (form: FormData) => {
    const body = { amount: moneyOf(form, "amount") ?? "" };
    const { url } = await api<{ url: string | null }>("/v1/billing/checkout", {
      method: "POST",
      body,
      once: onceFor(body),
    });
    if (!url) throw new ApiError(503, "no_page", "Stripe gave no page to pay on. Try again soon.");
    location.assign(url);
    // The page is on its way: the button stays as it is until it is there.
    await new Promise(() => {});
  };
  return (
    <Dialog title="Add credit" onClose={onClose}>
      {error && <Failed error={error} again={refetch} />}
      {!data && !error && <Loading what="how to pay" />}
      {data?.checkout && (
        <Form submit={submit} label="Go to Stripe" onCancel={onClose}>
          <Field
            name="amount"
            label="Amount, USD"
            hint="From $1 to $10,000 in whole cents. It is paid on Stripe's page and credited when Stripe says that it was."
            inputMode="decimal"
            defaultValue="20.00"
            required
            autofocus
          />
        </Form>
      )}
      {data && !data.checkout && <ByOperator onClose={onClose} />}
    </Dialog>
  );
}

function ByOperator({ onClose }: { onClose: () => void }) {
  const curl = [
    `curl ${location.origin}/admin/accounts/${session.value?.account.id}/credits`,
    '-H "Authorization: Bearer $ADMIN_KEY"',
    '-H "Content-Type: application/json"',
    `-d '{"amount":"20.00","reference":"invoice-1"}'`,
  ].join(" \\\n  ");
  return (
    <div class="told">
      <p>
        <b>No payments are taken here.</b> This deployment has no Stripe secrets. Its operator sets{" "}
        <code>STRIPE_SECRET_KEY</code> and <code>STRIPE_WEBHOOK_SECRET</code> to take them, or credits the
        account by hand; a reference credits once:
      </p>
      <div class="secret">
        <pre>{curl}</pre>
        <Copy text={curl} label="Copy command" />
      </div>
      <div class="form-end">
        <button type="button" class="primary" onClick={onClose}>
          Close
        </button>
      </div>
    </div>
  );
}
