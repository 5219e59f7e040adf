/** Dark follows the system until the button says otherwise. */
import { signal } from "@preact/signals";

export type Theme = "light" | "dark";
const NAME = "causeway-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

/** Rises when colours change: what draws on a canvas draws again. */
export const coloursChanged = signal(0);
system.addEventListener("change", () => coloursChanged.value++);

export const theme = (): Theme =>
  (document.documentElement.dataset.theme as Theme | undefined) ?? (system.matches ? "dark" : "light");

export function setTheme(theme: Theme): void {
  localStorage.setItem(NAME, theme);
  applyStored();
}

export function applyStored(): void {
  const stored = localStorage.getItem(NAME);
  if (stored === "light" || stored === "dark") document.documentElement.dataset.theme = stored;
  coloursChanged.value++;
}
