/**
 * Finds the first stop string in text that comes in pieces, and holds back what may yet become one. Each string is a
 * Knuth-Morris-Pratt automaton, so the work is linear in the text whatever the strings are.
 */

interface Automaton {
  readonly text: string;
  /** fallback[i]: the longest proper prefix of text that ends text[0..i]. */
  readonly fallback: Int32Array;
  /** Characters of `text` that the end of the input matches. */
  matched: number;
}

export class StopStrings {
  readonly #automata: Automaton[];
  #held = "";
  #found = false;

  constructor(stops: readonly string[]) {
    this.#automata = stops.map((text) => ({ text, fallback: fallbackOf(text), matched: 0 }));
  }

  get found(): boolean {
    return this.#found;
  }

  /** Takes the next piece; returns the text that is safe to give out. After a stop string was found: nothing more. */
  push(piece: string): string {
    if (this.#found) return "";
    if (this.#automata.length === 0) return piece;
    const text = this.#held + piece;
    for (let i = 0; i < piece.length; i++) {
      const stop = this.#advance(piece[i]);
      if (stop) {
        this.#found = true;
        this.#held = "";
        return text.slice(0, text.length - (piece.length - i - 1) - stop.text.length);
      }
    }
    const holding = Math.max(...this.#automata.map((automaton) => automaton.matched));
    this.#held = text.slice(text.length - holding);
    return text.slice(0, text.length - holding);
  }

  /** What was held back and did not become a stop string, at the end of the answer or of a part of it. */
  end(): string {
    const held = this.#held;
    this.#held = "";
    for (const automaton of this.#automata) automaton.matched = 0;
    return held;
  }

  /** The longest stop string that this character completes. */
  #advance(character: string): Automaton | undefined {
    let complete: Automaton | undefined;
    for (const automaton of this.#automata) {
      while (automaton.matched > 0 && automaton.text[automaton.matched] !== character) {
        automaton.matched = automaton.fallback[automaton.matched - 1];
      }
      if (automaton.text[automaton.matched] === character) automaton.matched++;
      if (automaton.matched < automaton.text.length) continue;
      if (!complete || automaton.text.length > complete.text.length) complete = automaton;
    }
    return complete;
  }
}

function fallbackOf(text: string): Int32Array {
  const fallback = new Int32Array(text.length);
  let matched = 0;
  for (let i = 1; i < text.length; i++) {
    while (matched > 0 && text[matched] !== text[i]) matched = fallback[matched - 1];
    if (text[matched] === text[i]) matched++;
    fallback[i] = matched;
  }
  return fallback;
}
