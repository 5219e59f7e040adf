/** The held-out cases that the recipe wrote: eval/*.jsonl, and beside the sources those whose text is not ours. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { ChatMessage } from "../../tokenizer/chat-template.ts";

const check = z.discriminatedUnion("kind", [
  /** The text, but for white space. */
  z.object({ kind: z.literal("text"), value: z.string() }),
  /** A text in which the value stands as words of its own. */
  z.object({ kind: z.literal("contains"), value: z.string() }),
  z.object({ kind: z.literal("one of"), values: z.array(z.string()) }),
  /** One object, with these members in any order, and nothing else. */
  z.object({ kind: z.literal("json"), value: z.record(z.string(), z.unknown()) }),
  /** One call, with these arguments in any order, and nothing else. */
  z.object({ kind: z.literal("call"), name: z.string(), arguments: z.record(z.string(), z.unknown()) }),
  z.object({ kind: z.literal("no call") }),
]);

const caseSchema = z.object({
  measure: z.string(),
  messages: z.array(z.custom<ChatMessage>((value) => typeof value === "object" && value !== null)),
  tools: z.array(z.unknown()).optional(),
  check,
  /** What was wanted, as the model writes it: with its special tokens. */
  target: z.string(),
});

export type Check = z.infer<typeof check>;
export type Case = z.infer<typeof caseSchema>;

const FILES = ["lookup", "calls", "json", "questions"];

/** Those in the repository, and, where the sources are at hand, those of people's dialogues. */
export function readCases(sources: string | undefined): Case[] {
  const paths = FILES.map((name) => join(import.meta.dirname, "..", "eval", `${name}.jsonl`));
  const dialogues = sources && join(sources, "dialogues.jsonl");
  if (dialogues && existsSync(dialogues)) paths.push(dialogues);
  return paths.flatMap((path) =>
    readFileSync(path, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => caseSchema.parse(JSON.parse(line))),
  );
}
