/**
 * Text to tokens: a checkpoint's tokenizer.json, run by `@huggingface/tokenizers`. Tokens to text is done here by
 * bytes (detokenizer.ts), because a stream must never hold half a character and must not decode from the start again.
 * Only byte-level vocabularies are taken (DeepSeek, Kimi, GPT-like): there every token is a string of bytes.
 */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { readJson } from "../checkpoint/config.ts";
import { CheckpointError } from "../checkpoint/error.ts";

/** Ids index arrays; the largest published vocabularies have 2^18. */
const tokenId = z
  .int()
  .min(0)
  .max(2 ** 22);

const tokenizerSchema = z.looseObject({
  model: z.looseObject({
    type: z.literal("BPE"),
    vocab: z.record(z.string(), tokenId),
    merges: z.array(z.unknown()),
  }),
  added_tokens: z.array(
    z.looseObject({
      id: tokenId,
      content: z.string().min(1),
      special: z.boolean(),
      lstrip: z.boolean().optional(),
      rstrip: z.boolean().optional(),
    }),
  ),
  normalizer: z.unknown(),
  decoder: z.looseObject({ type: z.string() }),
});

type TokenizerJson = z.infer<typeof tokenizerSchema>;

export class Tokenizer {
  readonly #tokenizer: HuggingFaceTokenizer;
  /** The bytes of each token, by id; none for special tokens, which are not text, and for ids without a token. */
  readonly #bytes: readonly (Uint8Array | undefined)[];
  readonly #size: number;
  /** No encoding of a text has fewer tokens than its UTF-8 bytes divided by this; undefined where that does not hold. */
  readonly #longestTokenBytes: number | undefined;

  /** Ids of added tokens; one of spaces alone is no more than text. */
  readonly #special: ReadonlyMap<string, number>;
  readonly #specialPattern: RegExp | undefined;
  readonly #firsts: ReadonlySet<string>;

  private constructor(tokenizer: HuggingFaceTokenizer, json: TokenizerJson) {
    this.#tokenizer = tokenizer;
    this.#bytes = bytesOfTokens(json);
    this.#size = this.#bytes.length;
    this.#longestTokenBytes = longestToken(json, this.#bytes);
    const special = json.added_tokens.filter((token) => token.special || token.content.trim() !== "");
    this.#special = new Map(special.map((token) => [token.content, token.id]));
    this.#firsts = new Set(special.map((token) => token.content[0]));
    this.#specialPattern = patternOf([...this.#special.keys()]);
  }

  /** Reads tokenizer.json and tokenizer_config.json. Errors: CheckpointError. */
  static async load(folder: string): Promise<Tokenizer> {
    const path = join(folder, "tokenizer.json");
    const json = await readJson(path);
    const parsed = tokenizerSchema.safeParse(json);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw new CheckpointError("corrupt", path, `${issue.path.join(".") || "it"}: ${issue.message}`);
    }
    if (!isByteLevel(parsed.data.decoder)) {
      throw new CheckpointError(
        "unsupported",
        path,
        `decoder "${parsed.data.decoder.type}" is not supported, "ByteLevel" is`,
      );
    }
    const missing = bytesWithoutToken(parsed.data);
    if (missing > 0)
      throw new CheckpointError("corrupt", path, `its vocabulary lacks tokens for ${missing} of 256 bytes`);
    const config = await readJson(join(folder, "tokenizer_config.json"));
    try {
      return new Tokenizer(new HuggingFaceTokenizer(json as object, config as object), parsed.data);
    } catch (error) {
      throw new CheckpointError("corrupt", path, `cannot be used (${(error as Error).message})`);
    }
  }

  /** The ids of a text as transformers encodes it: what spells a special token is one. */
  encode(text: string): number[] {
    const { ids } = this.#tokenizer.encode(text, { add_special_tokens: false });
    return ids;
  }

  specialToken(text: string): number | undefined {
    return this.#special.get(text);
  }

  /** What special tokens begin with, a UTF-16 unit each: without these no text can become one. */
  get firstsOfSpecialTokens(): ReadonlySet<string> {
    return this.#firsts;
  }

  /**
   * The ids of a text in which the special tokens stand as they are and all else has stand-ins (shield.ts), which
   * `restore` takes back: what is restored is never a special token.
   */
  encodeShielded(text: string, restore: (text: string) => string): number[] {
    const ids: number[] = [];
    for (const part of this.#specialPattern ? text.split(this.#specialPattern) : [text]) {
      const special = this.#special.get(part);
      if (special !== undefined) ids.push(special);
      else if (part !== "") for (const id of this.encodePlain(restore(part))) ids.push(id);
    }
    return ids;
  }

  /** The ids of a text that holds no special token, whatever it spells. */
  encodePlain(text: string): number[] {
    const { normalizer, pre_tokenizer: preTokenizer, model } = this.#tokenizer;
    assert(model);
    const normal = normalizer ? normalizer(text) : text;
    const tokens = model(preTokenizer ? preTokenizer(normal, { section_index: 0 }) : [normal]);
    const idOf = (token: string) => model.tokens_to_ids.get(token)!; // every byte has a token, so none is unknown
    // Merges may spell a special token whose characters are bytes (`<think>`): then it stays in its bytes.
    return tokens.flatMap((token) => (this.#special.has(token) ? Array.from(token, idOf) : [idOf(token)]));
  }

  /** Whether the text certainly has more than `tokens` tokens, known without encoding it. */
  isCertainlyLongerThan(text: string, tokens: number): boolean {
    return (
      this.#longestTokenBytes !== undefined && Buffer.byteLength(text) > tokens * this.#longestTokenBytes
    );
  }

  /** One more than the largest id. */
  get size(): number {
    return this.#size;
  }

  bytesOf(token: number): Uint8Array | undefined {
    return this.#bytes[token];
  }
}

/** Any of the texts, the longest where several begin at one place; captured, so that a split keeps them. */
function patternOf(texts: string[]): RegExp | undefined {
  if (texts.length === 0) return undefined;
  const escaped = texts
    .toSorted((a, b) => b.length - a.length)
    .map((text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`(${escaped.join("|")})`);
}

function isByteLevel(decoder: TokenizerJson["decoder"]): boolean {
  if (decoder.type === "ByteLevel") return true;
  const parts = decoder.type === "Sequence" ? decoder.decoders : undefined;
  return Array.isArray(parts) && parts.length === 1 && parts[0]?.type === "ByteLevel";
}

/**
 * Byte-level vocabularies write each byte as one printable character (GPT-2's table): the printable bytes of Latin-1
 * stand for themselves, the 68 others for U+0100 and on, in order.
 */
const characterOfByte: readonly string[] = (() => {
  const characters: string[] = [];
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    characters.push(String.fromCharCode(printable ? byte : next++));
  }
  return characters;
})();

const byteOfCharacter: ReadonlyMap<string, number> = new Map(
  characterOfByte.map((character, byte) => [character, byte]),
);

function bytesWithoutToken(json: TokenizerJson): number {
  return characterOfByte.filter((character) => !Object.hasOwn(json.model.vocab, character)).length;
}

function bytesOfTokens(json: TokenizerJson): (Uint8Array | undefined)[] {
  const bytes: (Uint8Array | undefined)[] = [];
  for (const [text, id] of Object.entries(json.model.vocab)) {
    const values = Array.from(text, (character) => byteOfCharacter.get(character));
    // A token outside the table is text as it stands (an added token that the vocabulary lists too).
    bytes[id] = values.includes(undefined)
      ? new TextEncoder().encode(text)
      : Uint8Array.from(values as number[]);
  }
  for (const token of json.added_tokens) {
    bytes[token.id] = token.special ? undefined : new TextEncoder().encode(token.content);
  }
  return bytes;
}

function longestToken(json: TokenizerJson, bytes: readonly (Uint8Array | undefined)[]): number | undefined {
  // A normaliser or a token that swallows the space around it can make text vanish.
  if (json.normalizer != null || json.added_tokens.some((token) => token.lstrip || token.rstrip))
    return undefined;
  let longest = 1;
  for (const token of bytes) longest = Math.max(longest, token?.length ?? 0);
  for (const token of json.added_tokens) longest = Math.max(longest, Buffer.byteLength(token.content));
  return longest;
}
