/** Fills a new edge through the admin API, as an operator would. Nothing is made twice. */
import { Failure } from "./failure.ts";
import type { Demo, Files, Run } from "./files.ts";
import { engines, limits, model, regions } from "./fleet.ts";

/** The demo is there to try everything with. */
const SCOPES = ["inference", "usage", "manage"];

/** @returns the demo account's key, the same at each start. */
export async function seed(
  { url, backends }: Readonly<Run>,
  adminKey: string,
  files: Files,
): Promise<string> {
  const admin = client(url, adminKey);
  await seedModel(admin);
  for (const { id, name, zone, jurisdiction, simulatedDistanceMs } of regions) {
    await admin("PUT", `/admin/regions/${id}`, {
      name,
      zone,
      jurisdiction,
      simulated_distance_ms: simulatedDistanceMs,
    });
  }
  for (const { name, plays, ...engine } of engines) {
    const backend = backends.find(({ id }) => id === engine.id);
    if (backend === undefined) continue;
    await admin("PUT", `/admin/backends/${backend.id}`, {
      name,
      region: backend.region,
      model: model.id,
      served_as: model.id,
      kind: "causeway",
      chip: "cpu",
      plays,
      url: backend.url,
      secret_name: "BACKEND_LOCAL_SECRET",
      state: "active",
      tools: true,
      max_concurrent: limits.maxConcurrent,
      max_waiting: limits.maxWaiting,
    });
  }
  return await seedDemo(admin, url, files);
}

async function seedModel(admin: Admin): Promise<void> {
  await admin("PUT", `/admin/models/${model.id}`, {
    name: model.name,
    description: model.description,
    owned_by: "causeway",
    context_length: model.contextLength,
    default_max_output_tokens: model.defaultMaxOutputTokens,
  });
  const { data } = await admin<{ data: unknown[] }>("GET", `/admin/prices?model=${model.id}`);
  if (data.length === 0) await admin("POST", "/admin/prices", { model: model.id, ...model.price });
}

/** Each part is written down when it is made: a start that was cut short goes on where it stopped. */
async function seedDemo(admin: Admin, url: string, files: Files): Promise<string> {
  const demo = files.read<Demo>("demo.json");
  if (demo?.key !== undefined && (await works(url, demo.key.key))) {
    await showFleet(admin, demo.account);
    // One of an older version lacks what came later.
    await admin("PATCH", `/admin/accounts/${demo.account}/keys/${demo.key.id}`, { scopes: SCOPES });
    return demo.key.key;
  }

  // No demo yet; or its key was revoked, or the database was deleted.
  const account = (await knownAccount(admin, demo?.account)) ?? (await newAccount(admin));
  files.write("demo.json", { account } satisfies Demo);
  await showFleet(admin, account);
  // The reference makes it once.
  await admin("POST", `/admin/accounts/${account}/credits`, { amount: "10.00", reference: "demo-opening" });
  const { id, key } = await admin<{ id: string; key: string }>("POST", `/admin/accounts/${account}/keys`, {
    name: "demo",
    scopes: SCOPES,
  });
  files.write("demo.json", { account, key: { id, key } } satisfies Demo);
  return key;
}

/** The demo account's dashboard shows every backend: whoever starts the platform is its operator. */
async function showFleet(admin: Admin, account: string): Promise<void> {
  await admin("PATCH", `/admin/accounts/${account}`, { fleet_view: "full" });
}

async function knownAccount(admin: Admin, account: string | undefined): Promise<string | undefined> {
  if (account === undefined) return undefined;
  const { data } = await admin<{ data: { id: string }[] }>("GET", "/admin/accounts?limit=1000");
  return data.find(({ id }) => id === account)?.id;
}

async function newAccount(admin: Admin): Promise<string> {
  return (await admin<{ id: string }>("POST", "/admin/accounts", { name: "Demo" })).id;
}

async function works(url: string, key: string): Promise<boolean> {
  const answer = await fetch(`${url}/v1/balance`, { headers: { authorization: `Bearer ${key}` } });
  await answer.body?.cancel();
  return answer.status !== 401;
}

type Admin = <T = unknown>(
  method: "GET" | "PUT" | "POST" | "PATCH",
  path: string,
  body?: object,
) => Promise<T>;

function client(url: string, adminKey: string): Admin {
  return async <T>(method: string, path: string, body?: object) => {
    const answer = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${adminKey}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) {
      throw new Failure(`The edge refused ${method} ${path} with ${answer.status}: ${said(text)}`);
    }
    return JSON.parse(text) as T;
  };
}

/** The message of an error in OpenAI's shape, or what came instead of one. */
function said(text: string): string {
  try {
    return (JSON.parse(text) as { error: { message: string } }).error.message;
  } catch {
    return text.slice(0, 200).replaceAll(/\s+/g, " ") || "nothing";
  }
}
