/** Names for what a form sends, so that sending it again after a lost answer does it once. */
import { useRef } from "preact/hooks";

/** The same body gets the same name, for as long as the form is open; another one a new name. */
export function useOnce(): (body: unknown) => string {
  const last = useRef({ text: "", name: "" });
  return (body) => {
    const text = JSON.stringify(body);
    if (text !== last.current.text) last.current = { text, name: random() };
    return last.current.name;
  };
}

/** Not randomUUID, which is there on https alone. */
const random = (): string =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
