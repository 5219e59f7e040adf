/** What an operator does before a test: a model, a price, backends, accounts. All through the admin API. */
import { Upstream } from "./upstream.ts";

export interface Edge {
  readonly url: string;
  readonly adminKey: string;
}

export interface Account {
  readonly id: string;
  readonly keyId: string;
  readonly key: string;
}

/** The bearer of backends that tests register; runs get it as the variable BACKEND_TEST_SECRET. */
export const TEST_BACKEND_SECRET = "test-backend-secret-0123456789";
export const MODEL = "test-model";
/** USD a million tokens. */
export const PRICE = { input: "2", cached_input: "0.5", output: "10" };

export async function admin<T = Record<string, unknown>>(
  edge: Edge,
  method: string,
  path: string,
  body?: unknown,
): Promise<T> {
  const response = await fetch(new URL(`/admin${path}`, edge.url), {
    method,
    headers: { authorization: `Bearer ${edge.adminKey}`, "content-type": "application/json" },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return JSON.parse(text) as T;
}

/** A model with a price and the backends given, one each, in the region `us-east`. */
export async function sell(
  edge: Edge,
  upstreams: readonly Upstream[],
  model = MODEL,
  kind: "causeway" | "openai" = "causeway",
) {
  await admin(edge, "PUT", "/regions/us-east", { name: "US East", zone: "enam", simulated_distance_ms: 0 });
  const about = { name: model, description: "A model of the tests.", owned_by: "tests" };
  await admin(edge, "PUT", `/models/${model}`, {
    ...about,
    context_length: 4096,
    default_max_output_tokens: 512,
  });
  await admin(edge, "POST", "/prices", { model, ...PRICE });
  for (const [index, upstream] of upstreams.entries())
    await register(edge, upstream, `bknd_${model}-${index}`, model, kind);
}

export async function register(
  edge: Edge,
  upstream: Upstream,
  id: string,
  model = MODEL,
  kind = "causeway",
  region = "us-east",
  able: Record<string, unknown> = {},
) {
  const where = { name: id, region, model, served_as: model, kind, chip: "cpu" };
  const more = { url: upstream.url, secret_name: "BACKEND_TEST_SECRET", state: "active" };
  await admin(edge, "PUT", `/backends/${id}`, { ...where, ...more, ...able });
}

export const startUpstream = (behave?: Parameters<typeof Upstream.start>[1]) =>
  Upstream.start(TEST_BACKEND_SECRET, behave);

export async function newAccount(
  edge: Edge,
  usd: string,
  limits: Record<string, number | readonly string[]> = {},
): Promise<Account> {
  const { id } = await admin<{ id: string }>(edge, "POST", "/accounts", { name: "Test" });
  if (usd !== "0")
    await admin(edge, "POST", `/accounts/${id}/credits`, { amount: usd, reference: "opening" });
  const key = await admin<{ id: string; key: string }>(edge, "POST", `/accounts/${id}/keys`, {
    name: "test",
    ...limits,
  });
  return { id, keyId: key.id, key: key.key };
}

export function ask(edge: Edge, key: string, body: unknown, init: RequestInit = {}): Promise<Response> {
  return fetch(new URL("/v1/chat/completions", edge.url), {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
    ...init,
  });
}

export const hello = (more: Record<string, unknown> = {}) => ({
  model: MODEL,
  messages: [{ role: "user", content: "Hello" }],
  max_tokens: 100,
  ...more,
});

export async function read<T = Record<string, unknown>>(edge: Edge, key: string, path: string): Promise<T> {
  const response = await fetch(new URL(path, edge.url), { headers: { authorization: `Bearer ${key}` } });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

export interface Generation {
  state: "open" | "settled";
  ending: string;
  finish_reason: string | null;
  usage: { prompt_tokens: number; cached_tokens: number; completion_tokens: number; source: string };
  cost_nanodollars: string;
  attempts: { id: string; backend: string; outcome: string }[];
}

/** The settled request, as soon as it is: a client that left cannot know when. */
export function settled(edge: Edge, key: string, id: string, withinMs = 20_000): Promise<Generation> {
  return eventually(
    async () => {
      const response = await fetch(new URL(`/v1/generation?id=${id}`, edge.url), {
        headers: { authorization: `Bearer ${key}` },
      });
      if (!response.ok) return undefined;
      const generation = (await response.json()) as Generation;
      return generation.state === "settled" ? generation : undefined;
    },
    `${id} to be settled`,
    withinMs,
  );
}

export interface Audit {
  clean: boolean;
  accounts: {
    account: string;
    balance: string;
    held: string;
    pending: number;
    open_reservations: number;
    findings: string[];
  }[];
}

/** The audit once D1 has everything and nothing is open. */
export function audited(edge: Edge, account?: string, withinMs = 90_000): Promise<Audit> {
  return eventually(
    async () => {
      const audit = await admin<Audit>(edge, "GET", `/audit${account ? `?account=${account}` : ""}`);
      return audit.accounts.every((one) => one.pending === 0 && one.open_reservations === 0)
        ? audit
        : undefined;
    },
    "the outbox to be empty and nothing open",
    withinMs,
  );
}

/** Polls until there is a value; throws, saying what was waited for, when there is none in time. */
export async function eventually<T>(
  probe: () => Promise<T | undefined>,
  what: string,
  withinMs = 20_000,
): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (Date.now() > deadline) throw new Error(`waited ${withinMs} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
