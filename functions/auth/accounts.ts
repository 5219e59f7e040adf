/** Where an account's object lives: its id names its jurisdiction. */
import type { Env } from "../env.ts";
import { type AccountId, jurisdictionOf } from "../ids.ts";
import type { AccountObject } from "../objects/account.ts";

export function accountObject(env: Env, account: AccountId): DurableObjectStub<AccountObject> {
  const jurisdiction = jurisdictionOf(account);
  const namespace = jurisdiction ? env.ACCOUNTS.jurisdiction(jurisdiction) : env.ACCOUNTS;
  return namespace.getByName(account);
}
