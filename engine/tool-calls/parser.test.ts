import { beforeAll, describe, expect, it } from "vitest";
import { Random } from "../sampling/random.ts";
import { Detokenizer } from "../tokenizer/detokenizer.ts";
import { StopStrings } from "../tokenizer/stop-strings.ts";
import { Tokenizer } from "../tokenizer/tokenizer.ts";
import { AnswerParser, type Delta } from "./parser.ts";
import { type ToolTokens, toolTokensOf } from "./tokens.ts";

let tokenizer: Tokenizer;
let marks: ToolTokens;
let byteTokens: number[];
beforeAll(async () => {
  tokenizer = await Tokenizer.load(new URL("../model", import.meta.url).pathname);
  marks = toolTokensOf(tokenizer)!;
  byteTokens = [];
  for (let id = 0; id < tokenizer.size; id++) {
    const bytes = tokenizer.bytesOf(id);
    if (bytes?.length === 1) byteTokens[bytes[0]] ??= id;
  }
});

type Part = string | keyof ToolTokens;
interface Parsed {
  content: string;
  calls: { name: string; arguments: string }[];
}

const markNames = ["callsBegin", "callBegin", "separator", "callEnd", "callsEnd"];
const isMark = (part: Part): part is keyof ToolTokens => markNames.includes(part);

/** Puts deltas together as a client does, and checks what clients rely on. */
function assemble(deltas: readonly Delta[]): Parsed {
  const parsed: Parsed = { content: "", calls: [] };
  const ids = new Set<string>();
  for (const delta of deltas) {
    if (delta.kind === "content") parsed.content += delta.text;
    else if (delta.kind === "call") {
      expect(delta.index).toBe(parsed.calls.length);
      expect(delta.id).toMatch(/^call_[0-9a-f]{24}$/);
      ids.add(delta.id);
      parsed.calls.push({ name: delta.name, arguments: "" });
    } else {
      expect(delta.index).toBe(parsed.calls.length - 1);
      expect(delta.text).not.toBe("");
      parsed.calls[delta.index].arguments += delta.text;
    }
  }
  expect(ids.size).toBe(parsed.calls.length);
  return parsed;
}

function parse(parts: readonly Part[], encode: (text: string) => number[], stops: string[] = []): Parsed {
  const parser = new AnswerParser(marks, new Detokenizer(tokenizer), new StopStrings(stops));
  const deltas: Delta[] = [];
  for (const part of parts) {
    for (const token of isMark(part) ? [marks[part]] : encode(part)) {
      if (!parser.stopFound) deltas.push(...parser.push(token));
    }
  }
  return assemble(parser.stopFound ? deltas : [...deltas, ...parser.end()]);
}

const whole = (text: string) => tokenizer.encodePlain(text);
const bytes = (text: string) => Array.from(new TextEncoder().encode(text), (byte) => byteTokens[byte]);

const twoCalls: Part[] = [
  "Let me look 漢字 up. ",
  "callsBegin",
  "callBegin",
  "get_weather",
  "separator",
  '{"city":"Zürich","note":"👩‍👩‍👧 \\"quoted\\""}',
  "callEnd",
  "\n",
  "callBegin",
  "now",
  "separator",
  "callEnd",
  "callsEnd",
];
const expected: Parsed = {
  content: "Let me look 漢字 up. ",
  calls: [
    { name: "get_weather", arguments: '{"city":"Zürich","note":"👩‍👩‍👧 \\"quoted\\""}' },
    { name: "now", arguments: "{}" },
  ],
};

describe("tool calls", () => {
  it("are the same however their text is cut into tokens", () => {
    expect(parse(twoCalls, whole)).toEqual(expected);
    expect(parse(twoCalls, bytes)).toEqual(expected);
    const text = twoCalls.filter((part) => !isMark(part)).join("");
    for (let cut = 0; cut <= text.length; cut++) {
      // Every text cut at one place, between whole tokens: that far as whole tokens, from there byte by byte.
      let seen = 0;
      const encode = (part: string) => {
        const at = Math.max(0, Math.min(part.length, cut - seen));
        seen += part.length;
        const [before, after] = [part.slice(0, at), part.slice(at)];
        return before.isWellFormed() ? [...whole(before), ...bytes(after)] : bytes(part);
      };
      expect(parse(twoCalls, encode)).toEqual(expected);
    }
  });

  const seed = Math.floor(Math.random() * 2 ** 31);
  it(`are the same whatever tokens make up any mixture of marks and text (seed ${seed})`, () => {
    const random = new Random(seed);
    const below = (limit: number) => Math.floor(random.next() * limit);
    const words = ["a", "{", '"', " ", "漢", "é", "name", "\n", "}", "EN", "END"];
    for (let round = 0; round < 500; round++) {
      const parts: Part[] = [];
      for (let i = below(14); i >= 0; i--) {
        const text = Array.from({ length: below(4) }, () => words[below(words.length)]).join("");
        // Two texts in a row would be one text cut in two.
        if (below(2) === 0 || parts.length === 0 || !isMark(parts.at(-1)!))
          parts.push(markNames[below(5)] as Part);
        else parts.push(text);
      }
      const mixed = (text: string) =>
        [...text].flatMap((part) => (below(2) === 0 ? whole(part) : bytes(part)));
      for (const stops of [[], ["END"]]) {
        const plain = parse(parts, whole, stops);
        expect(parse(parts, bytes, stops), JSON.stringify(parts)).toEqual(plain);
        expect(parse(parts, mixed, stops), JSON.stringify(parts)).toEqual(plain);
      }
    }
  });

  it("give their name in their first delta and each token of their arguments at once", () => {
    const parser = new AnswerParser(marks, new Detokenizer(tokenizer), new StopStrings([]));
    const kinds = (tokens: number[]) => tokens.map((token) => parser.push(token).map((delta) => delta.kind));
    expect(kinds([marks.callsBegin, marks.callBegin, ...whole("f")]).flat()).toEqual([]);
    expect(kinds([marks.separator])).toEqual([["call"]]);
    const tokens = whole('{"a":"b"}');
    expect(kinds(tokens)).toEqual(tokens.map(() => ["arguments"]));
    expect([parser.calls, parser.endedCalls]).toEqual([1, 0]);
    parser.push(marks.callEnd);
    expect([parser.calls, parser.endedCalls]).toEqual([1, 1]);
  });

  it("are not searched for stop strings, and what was held back before them is given out", () => {
    const parts: Part[] = [
      "xEN",
      "callsBegin",
      "callBegin",
      "END",
      "separator",
      '"END"',
      "callEnd",
      "callsEnd",
      "DEND.",
    ];
    expect(parse(parts, whole, ["END"])).toEqual({
      content: "xEND",
      calls: [{ name: "END", arguments: '"END"' }],
    });
  });

  it("are passed over where the model has none", () => {
    const parser = new AnswerParser(undefined, new Detokenizer(tokenizer), new StopStrings([]));
    const deltas = [marks.callsBegin, ...whole("a"), marks.callEnd].flatMap((token) => parser.push(token));
    expect(assemble(deltas)).toEqual({ content: "a", calls: [] });
  });
});
