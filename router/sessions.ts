/**
 * Which backend served a conversation last: a guess at where its cache is when no prefix index knows. Keys are
 * compared whole and within one account. A guess lowers a cost and pins nothing: a backend that is dead, drained or
 * out of bounds is no candidate, whoever remembers it.
 */

/** Conversations remembered, all accounts together; the one not used for longest goes first. */
export const MAX_SESSIONS = 10_000;

export interface Sessions {
  readonly max: number;
  /** Oldest first: a Map keeps the order of insertion. */
  readonly backends: Map<string, string>;
}

export function createSessions(max = MAX_SESSIONS): Sessions {
  return { max, backends: new Map() };
}

export function rememberSession(sessions: Sessions, salt: string, session: string, backend: string): void {
  const key = keyOf(salt, session);
  sessions.backends.delete(key);
  sessions.backends.set(key, backend);
  if (sessions.backends.size > sessions.max) {
    sessions.backends.delete(sessions.backends.keys().next().value!);
  }
}

export function backendOfSession(sessions: Sessions, salt: string, session: string): string | undefined {
  return sessions.backends.get(keyOf(salt, session));
}

/** The length keeps two keys apart whose parts could be cut elsewhere. */
function keyOf(salt: string, session: string): string {
  return `${salt.length}:${salt}${session}`;
}
