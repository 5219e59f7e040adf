/** Whether what a model said is what a case wants. */
import { isDeepStrictEqual } from "node:util";
import type { Check } from "./cases.ts";

/** An assistant's turn as the API has it. */
export interface Said {
  readonly content: string | null;
  readonly tool_calls?: readonly {
    readonly function: { readonly name: string; readonly arguments: string };
  }[];
}

export function isRight(check: Check, said: Said): boolean {
  const calls = said.tool_calls ?? [];
  const text = plain(said.content ?? "");
  if (check.kind === "call") {
    if (calls.length !== 1 || calls[0].function.name !== check.name) return false;
    return isDeepStrictEqual(parsed(calls[0].function.arguments), check.arguments);
  }
  if (calls.length > 0) return false;
  switch (check.kind) {
    case "no call":
      return text !== "";
    case "text":
      return text === plain(check.value);
    case "contains":
      return standsIn(plain(check.value), text);
    case "one of":
      return check.values.some((value) => text === plain(value));
    case "json":
      return isDeepStrictEqual(parsed(text), check.value);
  }
}

/** Whether a tool call can be executed at all: one of the tools, with an object of arguments that has what it requires. */
export function isValidCall(said: Said, tools: readonly unknown[]): boolean {
  return (said.tool_calls ?? []).every(({ function: call }) => {
    const tool = (tools as Tool[]).find((one) => one.function.name === call.name);
    const given = parsed(call.arguments);
    if (!tool || typeof given !== "object" || given === null) return false;
    const { required = [], properties = {} } = tool.function.parameters ?? {};
    return required.every((name) => name in given) && Object.keys(given).every((name) => name in properties);
  });
}

interface Tool {
  readonly function: {
    readonly name: string;
    readonly parameters?: { readonly required?: string[]; readonly properties?: Record<string, unknown> };
  };
}

function plain(text: string): string {
  return text.replaceAll(/\s+/g, " ").trim();
}

/** As words of their own: 45 does not stand in 1450. */
function standsIn(value: string, text: string): boolean {
  const escaped = value.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`(?<![\\p{L}\\p{N}])${escaped}(?![\\p{L}\\p{N}])`, "u").test(text);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
