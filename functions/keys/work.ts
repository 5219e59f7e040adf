/** What both APIs do with an account's keys: the account's own asks as one of its keys, the operator as nobody. */
import type { z } from "zod";
import type { Once } from "../admission/holder.ts";
import { makeKey } from "../auth/key.ts";
import { DEFAULT_SCOPES, lacking, type Scope } from "../auth/scopes.ts";
import { SECOND_MS } from "../clock.ts";
import type { Env } from "../env.ts";
import { type ApiError, invalid, missingScope, Refusal } from "../errors.ts";
import { type AccountId, type KeyId, newKeyId } from "../ids.ts";
import type { AccountObject, KeyView } from "../objects/account.ts";
import { changeOf, type keyChangeBody, limitsOf, type newKeyBody } from "./fields.ts";
import { keyView } from "./view.ts";

type Object = DurableObjectStub<AccountObject>;

/** `scopes` of the key that asks; undefined: the operator, who may grant any. */
export interface Asker {
  readonly env: Env;
  readonly account: AccountId;
  readonly object: Object;
  readonly scopes: readonly Scope[] | undefined;
}

export async function create(asker: Asker, given: z.output<typeof newKeyBody>, once?: Once) {
  const scopes = given.scopes ?? DEFAULT_SCOPES;
  grants(asker, scopes);
  const { expires_at } = given;
  if (expires_at != null && expires_at <= Date.now())
    throw new Refusal(invalid("'expires_at' must be in the future.", "expires_at"));
  const { key, hash, hint } = await makeKey(asker.env, asker.account);
  const limits = limitsOf(given.budgets);
  const made = await asker.object.createKey(
    {
      id: newKeyId(),
      name: given.name,
      hash,
      hint,
      scopes,
      requestsPerMinute: given.requests_per_minute ?? null,
      tokensPerMinute: given.tokens_per_minute ?? null,
      residency: given.residency ?? null,
      expiresAt: expires_at ?? null,
      budgetDay: limits.budgetDay ?? null,
      budgetMonth: limits.budgetMonth ?? null,
    },
    once,
  );
  return { ...keyView(found(made)), key };
}

export async function change(asker: Asker, id: KeyId, given: z.output<typeof keyChangeBody>) {
  const before = found(await asker.object.key(id));
  // Scopes that it has already are not granted now.
  grants(
    asker,
    (given.scopes ?? []).filter((scope) => !before.scopes.includes(scope)),
  );
  return keyView(found(await asker.object.changeKey(id, changeOf(given))));
}

/** Whoever gets the successor's secret can do what it can: the asker must have all of that already. */
export async function rotate(asker: Asker, id: KeyId, overlapSeconds: number) {
  grants(asker, found(await asker.object.key(id)).scopes);
  const { key, hash, hint } = await makeKey(asker.env, asker.account);
  const successor = { id: newKeyId(), hash, hint };
  const made = found(await asker.object.rotateKey(id, successor, overlapSeconds * SECOND_MS));
  return { ...keyView(made), key };
}

/** A key grants nothing that it lacks. */
function grants({ scopes }: Asker, wanted: readonly Scope[]): void {
  const missing = scopes && lacking(scopes, wanted);
  if (missing) throw new Refusal(missingScope(missing));
}

/** What came over RPC, or the refusal that came instead. */
export function found(answer: KeyView | ApiError): KeyView {
  if ("status" in answer) throw new Refusal(answer);
  return answer;
}
