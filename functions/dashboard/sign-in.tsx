/** Signed out: one field for a key. The address stays, so what was open is there again afterwards. */
import { useEffect, useState } from "preact/hooks";
import { signIn } from "./api.ts";
import { Failed } from "./parts.tsx";

export function SignIn() {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Error>();
  useEffect(() => {
    document.title = "Sign in · Causeway";
  }, []);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const key = new FormData(event.currentTarget as HTMLFormElement).get("key") as string;
    setBusy(true);
    setError(undefined);
    await signIn(key).catch((refused: Error) => {
      setError(refused);
      setBusy(false);
    });
  };
  return (
    <main class="sign-in">
      <h1>Sign in to Causeway</h1>
      <p>
        With an API key of the scope <code>usage</code>: spend, requests and regions of its account.
      </p>
      <form onSubmit={submit}>
        <label class="field">
          API key
          <input name="key" type="password" autocomplete="current-password" spellcheck={false} required />
        </label>
        <button type="submit" class="primary" disabled={busy}>
          Sign in
        </button>
        {error && <Failed error={error} />}
      </form>
      <p class="note">
        A cookie stands for the key in this browser for at most twelve hours; the key itself is not kept.
      </p>
    </main>
  );
}
