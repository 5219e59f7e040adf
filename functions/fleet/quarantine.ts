/** Prompts that were running on two backends when they died, as this isolate saw it: none goes to a third for a minute. */
import { createQuarantine, isQuarantined as isHeld, noteKilled } from "../../router/quarantine.ts";
import type { Ask } from "./route.ts";

const quarantine = createQuarantine();

export function isQuarantined({ salt, prompt }: Ask): boolean {
  return isHeld(quarantine, salt, prompt, Date.now());
}

/** A backend died while it ran this prompt: it closed the connection without an answer, or in the middle of one. */
export function noteDeath({ salt, prompt }: Ask, backend: string): void {
  noteKilled(quarantine, salt, prompt, backend, Date.now());
}
