/** The tokens with which DeepSeek V3.1 writes tool calls: `calls_begin (call_begin NAME sep ARGUMENTS call_end)* calls_end`. */
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

export interface ToolTokens {
  readonly callsBegin: number;
  readonly callBegin: number;
  readonly separator: number;
  readonly callEnd: number;
  readonly callsEnd: number;
}

/** Nothing where the vocabulary lacks one of them: then the model was not made to call tools in this way. */
export function toolTokensOf(tokenizer: Tokenizer): ToolTokens | undefined {
  const callsBegin = tokenizer.specialToken("<｜tool▁calls▁begin｜>");
  const callBegin = tokenizer.specialToken("<｜tool▁call▁begin｜>");
  const separator = tokenizer.specialToken("<｜tool▁sep｜>");
  const callEnd = tokenizer.specialToken("<｜tool▁call▁end｜>");
  const callsEnd = tokenizer.specialToken("<｜tool▁calls▁end｜>");
  if (callsBegin === undefined || callBegin === undefined || separator === undefined) return undefined;
  if (callEnd === undefined || callsEnd === undefined) return undefined;
  return { callsBegin, callBegin, separator, callEnd, callsEnd };
}

/** What an answer begins with that calls one of these tools. */
export function openingsOf(names: readonly string[], tokens: ToolTokens, tokenizer: Tokenizer): number[][] {
  return names.map((name) => [
    tokens.callsBegin,
    tokens.callBegin,
    ...tokenizer.encodePlain(name),
    tokens.separator,
  ]);
}
