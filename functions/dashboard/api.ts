/** The public API as the page asks it: the session's cookie goes along by itself. */
import { signal } from "@preact/signals";

/** What a request was refused with. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  /** The field that it is about, as the API names it. */
  readonly param: string | null;

  constructor(status: number, code: string, message: string, param: string | null = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }
}

export interface Session {
  readonly account: { readonly id: string; readonly name: string | null };
  readonly key: {
    readonly id: string;
    readonly name: string;
    readonly hint: string;
    readonly scopes: readonly ("inference" | "usage" | "manage")[];
  };
  readonly environment: string;
  readonly simulated: boolean;
  readonly fleet_view: "own" | "full";
  readonly expires_at: string;
}

/** undefined: not known yet; null: signed out. */
export const session = signal<Session | null | undefined>(undefined);

const SESSION = "/dashboard/session";

/** With `once`, what is sent again after an answer was lost is done once. */
export async function api<T>(
  path: string,
  {
    method = "GET",
    body,
    signal,
    once,
  }: { method?: string; body?: unknown; signal?: AbortSignal; once?: string } = {},
): Promise<T> {
  const response = await fetch(path, {
    method,
    ...(signal && { signal }),
    ...(body !== undefined && {
      body: JSON.stringify(body),
      headers: { "content-type": "application/json", ...(once && { "idempotency-key": once }) },
    }),
  }).catch((error: Error) => {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The platform cannot be reached.");
  });
  if (response.ok) return (response.status === 204 ? undefined : await response.json()) as T;
  const said = (await response.json().catch(() => null)) as {
    error?: { code?: string; message?: string; param?: string | null };
  } | null;
  // The address stays, so that signing in again shows what was open.
  if (response.status === 401 && path !== SESSION) session.value = null;
  throw new ApiError(
    response.status,
    said?.error?.code ?? String(response.status),
    said?.error?.message ?? `The platform answered ${response.status}.`,
    said?.error?.param,
  );
}

export async function loadSession(): Promise<void> {
  session.value = await api<Session>(SESSION).catch((error: ApiError) => {
    if (error.status === 401) return null;
    throw error;
  });
}

export async function signIn(key: string): Promise<void> {
  await api(SESSION, { method: "POST", body: { key } });
  await loadSession();
}

export async function signOut(): Promise<void> {
  await api(SESSION, { method: "DELETE" });
  session.value = null;
}

export const may = (scope: "usage" | "manage"): boolean => session.value?.key.scopes.includes(scope) ?? false;
