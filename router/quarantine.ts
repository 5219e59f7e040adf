/**
 * Prompts that kill engines. One that was running on two backends when they died is sent to no third for a while:
 * one bad prompt costs two hosts and not the fleet. A prompt is named by its account and its hash; it is forgotten
 * after a minute, since two backends can also die by themselves.
 */
const HOSTS = 2;
const QUARANTINE_MS = 60_000;
const MAX_PROMPTS = 1_000;

export interface Quarantine {
  /** By account and prompt, the oldest first. */
  readonly prompts: Map<string, { readonly backends: Set<string>; readonly lastMs: number }>;
}

export function createQuarantine(): Quarantine {
  return { prompts: new Map() };
}

/** A backend closed the connection on this prompt, or died with it. */
export function noteKilled(
  quarantine: Quarantine,
  salt: string,
  prompt: string,
  backend: string,
  nowMs: number,
): void {
  const key = keyOf(salt, prompt);
  const before = quarantine.prompts.get(key);
  const backends = before && nowMs - before.lastMs < QUARANTINE_MS ? before.backends : new Set<string>();
  quarantine.prompts.delete(key);
  quarantine.prompts.set(key, { backends: backends.add(backend), lastMs: nowMs });
  if (quarantine.prompts.size > MAX_PROMPTS)
    quarantine.prompts.delete(quarantine.prompts.keys().next().value!);
}

export function isQuarantined(quarantine: Quarantine, salt: string, prompt: string, nowMs: number): boolean {
  const known = quarantine.prompts.get(keyOf(salt, prompt));
  return known !== undefined && nowMs - known.lastMs < QUARANTINE_MS && known.backends.size >= HOSTS;
}

function keyOf(salt: string, prompt: string): string {
  return `${salt.length}:${salt}${prompt}`;
}
