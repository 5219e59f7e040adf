/** Which dialect a kind of backend speaks. */
import type { BackendKind } from "../../db/d1/schema.ts";
import { causeway } from "./causeway.ts";
import type { Dialect } from "./dialect.ts";
import { openai } from "./openai.ts";
import { sglang } from "./sglang.ts";
import { vllm } from "./vllm.ts";

export const dialects: Readonly<Record<BackendKind, Dialect>> = { causeway, openai, vllm, sglang };

/** Undefined for a kind that this version does not know: a row may be newer than the code that reads it. */
export function dialectOf(kind: string): Dialect | undefined {
  return Object.hasOwn(dialects, kind) ? dialects[kind as BackendKind] : undefined;
}
