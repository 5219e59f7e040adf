import { env as bound } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import type { Env } from "../env.ts";
import { newAccountId } from "../ids.ts";
import { accountObject } from "./accounts.ts";

const env = bound as unknown as Env;

describe("an account's object", () => {
  it("is the same each time, and another for another account", () => {
    const [mine, other] = [newAccountId(), newAccountId()];
    expect(accountObject(env, mine).id.equals(accountObject(env, mine).id)).toBe(true);
    expect(accountObject(env, mine).id.equals(accountObject(env, other).id)).toBe(false);
  });

  it("stands in the jurisdiction that the account's id names (workerd itself knows none)", () => {
    const asked: string[] = [];
    const namespace = (jurisdiction: string) => ({
      jurisdiction: namespace,
      getByName: (name: string) => asked.push(`${jurisdiction}:${name}`),
    });
    const [eu, anywhere] = [newAccountId("eu"), newAccountId()];
    for (const account of [eu, anywhere])
      accountObject({ ACCOUNTS: namespace("") } as unknown as Env, account);
    expect(asked).toEqual([`eu:${eu}`, `:${anywhere}`]);
  });
});
