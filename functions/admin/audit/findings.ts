/** What an audit found, a sentence each. Of one kind only the first are spelt out: a broken table has millions. */
export type Kind = "unreadable" | "books" | "mark" | "journal" | "rollup" | "charge" | "attempt";

const SPELT_OUT = 20;

export class Findings {
  readonly #byKind = new Map<Kind, { sentences: string[]; more: number }>();

  add(kind: Kind, sentence: string): void {
    const of = this.#byKind.get(kind) ?? { sentences: [], more: 0 };
    if (of.sentences.length < SPELT_OUT) of.sentences.push(`${kind}: ${sentence}`);
    else of.more += 1;
    this.#byKind.set(kind, of);
  }

  list(): string[] {
    return [...this.#byKind].flatMap(([kind, { sentences, more }]) =>
      more > 0 ? [...sentences, `${kind}: and ${more} more`] : sentences,
    );
  }
}
