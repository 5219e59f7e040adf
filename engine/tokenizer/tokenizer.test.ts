import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CheckpointError } from "../checkpoint/error.ts";
import { Random } from "../sampling/random.ts";
import { type ChatMessage, ChatTemplate, TemplateError } from "./chat-template.ts";
import { Detokenizer } from "./detokenizer.ts";
import { Tokenizer } from "./tokenizer.ts";

const model = new URL("../model", import.meta.url).pathname;
// Rendered and encoded by transformers, with test/fixtures/engine/make.py.
interface Chat {
  readonly messages: ChatMessage[];
  readonly tools: unknown[] | null;
  readonly text: string;
  readonly ids: number[];
  readonly decoded: string;
}
const chats: Chat[] = JSON.parse(
  readFileSync(new URL("../../test/fixtures/engine/chats.json", import.meta.url), "utf8"),
);

let tokenizer: Tokenizer;
let template: ChatTemplate;
beforeAll(async () => {
  tokenizer = await Tokenizer.load(model);
  template = await ChatTemplate.load(model);
});

function decode(ids: readonly number[]): string[] {
  const detokenizer = new Detokenizer(tokenizer);
  return [...ids.map((id) => detokenizer.push(id)), detokenizer.end()];
}

describe.each(chats.map((chat, i) => [i, chat] as const))("conversation %i", (_, chat) => {
  it("is rendered as transformers renders it", () => {
    expect(template.render(chat.messages, chat.tools ?? undefined)).toBe(chat.text);
  });

  it("is encoded as transformers encodes it", () => {
    expect(tokenizer.encode(chat.text)).toEqual(chat.ids);
  });

  it("is decoded, token by token, to what transformers decodes it to", () => {
    expect(decode(chat.ids).join("")).toBe(chat.decoded);
  });
});

describe("the detokenizer", () => {
  it("never gives out half a character", () => {
    const text = "👩‍👩‍👧‍👦 漢字 naïve 🇩🇪";
    const ids = tokenizer.encode(text);
    expect(ids.length).toBeGreaterThan([...text].length);
    const pieces = decode(ids);
    expect(pieces.join("")).toBe(text);
    for (const piece of pieces) expect(piece.isWellFormed() && !piece.includes("\ufffd")).toBe(true);
  });

  it("says with U+FFFD that an answer ended inside a character", () => {
    const ids = tokenizer.encode("漢");
    expect(ids.length).toBeGreaterThan(1);
    expect(decode(ids.slice(0, -1)).join("")).toBe("\ufffd");
  });

  const seed = Math.floor(Math.random() * 2 ** 31);
  it(`gives what decoding at once gives, for any tokens (seed ${seed})`, () => {
    const random = new Random(seed);
    const ids = Array.from({ length: 5_000 }, () => Math.floor(random.next() * 4_096));
    const bytes = Buffer.concat(ids.map((id) => tokenizer.bytesOf(id) ?? new Uint8Array(0)));
    expect(decode(ids).join("")).toBe(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
  });
});

it("knows without encoding that a text is longer than a context, and never says so wrongly", () => {
  expect(tokenizer.isCertainlyLongerThan("a".repeat(8_000_000), 4_096)).toBe(true);
  for (const { text, ids } of chats) expect(tokenizer.isCertainlyLongerThan(text, ids.length)).toBe(false);
});

it("says why a template refuses messages", async () => {
  const folder = mkdtempSync(join(tmpdir(), "template-"));
  writeFileSync(join(folder, "tokenizer_config.json"), "{}");
  writeFileSync(join(folder, "chat_template.jinja"), "{{ raise_exception('roles must alternate') }}");
  const refusing = await ChatTemplate.load(folder);
  expect(() => refusing.render([])).toThrow(TemplateError);
  expect(() => refusing.render([])).toThrow("roles must alternate");
  rmSync(folder, { recursive: true });
});

describe("a damaged tokenizer", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "tokenizer-"));
    cpSync(join(model, "tokenizer_config.json"), join(folder, "tokenizer_config.json"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const original = readFileSync(join(model, "tokenizer.json"), "utf8");
  const changed = (change: (json: any) => void) => {
    const json = JSON.parse(original);
    change(json);
    return JSON.stringify(json);
  };

  it.each<[string, string, string]>([
    ["cut in half", original.slice(0, original.length / 2), "not JSON"],
    ["without a model", changed((json) => delete json.model), "model"],
    ["of another kind", changed((json) => (json.model.type = "Unigram")), "model.type"],
    ["with another decoder", changed((json) => (json.decoder = { type: "Metaspace" })), "Metaspace"],
    ["without its bytes", changed((json) => delete json.model.vocab.a), "lacks tokens for 1 of 256 bytes"],
    ["with an id below 0", changed((json) => (json.model.vocab.a = -1)), "model.vocab.a"],
    ["with an id of 2^53", changed((json) => (json.model.vocab.a = 2 ** 53)), "model.vocab.a"],
    ["with an id of 2^32", changed((json) => (json.model.vocab.a = 2 ** 32)), "model.vocab.a"],
    ["with an added id of 2^31", changed((json) => (json.added_tokens[0].id = 2 ** 31)), "added_tokens"],
    ["with merges that are no pairs", changed((json) => (json.model.merges = [7])), "cannot be used"],
    [
      "with a pre-tokenizer nobody knows",
      changed((json) => (json.pre_tokenizer = { type: "?" })),
      "cannot be used",
    ],
    [
      "with a broken pattern",
      changed((json) => (json.pre_tokenizer.pretokenizers[0].pattern.Regex = "(")),
      "cannot be used",
    ],
  ])("%s is refused", async (_, text, words) => {
    writeFileSync(join(folder, "tokenizer.json"), text);
    const error = await Tokenizer.load(folder).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as Error).message).toContain(words);
  });

  it("without a chat template is refused", async () => {
    writeFileSync(join(folder, "tokenizer_config.json"), "{}");
    await expect(ChatTemplate.load(folder)).rejects.toMatchObject({ code: "missing" });
    writeFileSync(join(folder, "tokenizer_config.json"), '{"chat_template":"{% if %}"}');
    await expect(ChatTemplate.load(folder)).rejects.toMatchObject({ code: "corrupt" });
  });
});
