/**
 * Tools as clients send them: functions are served, other types (`web_search`, `custom`, ...) are for hosts that
 * offer them and are left out, as clients expect; a choice of tools in each of its forms.
 */
import { z } from "zod";
import { type ApiError, invalid } from "../../errors.ts";
import { compileProblem, sizeOf } from "./json-schema.ts";

export interface FunctionTool {
  readonly type: "function";
  readonly function: {
    readonly name: string;
    readonly description?: string;
    readonly parameters?: Readonly<Record<string, unknown>>;
    readonly strict?: boolean;
  };
}

export type ToolChoice = "none" | "auto" | "required" | { readonly name: string };

/** A call that an assistant made, in the history. */
export interface ToolCall {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

/** What a request says of tools, checked. */
export interface Tools {
  readonly tools: readonly FunctionTool[];
  readonly toolChoice: ToolChoice;
  /** Whether an answer may hold several calls. */
  readonly parallelToolCalls: boolean;
}

const MAX_TOOLS = 512;
/** All tools together. */
const MAX_SIZE = { nodes: 50_000, characters: 1024 * 1024 };

const name = z.string().min(1).max(256);

export const toolCalls = z
  .array(
    z.object({
      id: name,
      type: z.literal("function", { error: "must be 'function'" }).nullish(),
      function: z.object({
        name,
        arguments: z.string({ error: "must be a string of JSON" }),
      }),
    }),
  )
  .max(MAX_TOOLS);

const functionTool = z.object({
  function: z.object({
    name,
    description: z.string().nullish(),
    parameters: z
      .custom<Record<string, unknown>>(
        (value) => typeof value === "object" && value !== null && !Array.isArray(value),
        { error: "must be a JSON schema of type 'object'" },
      )
      .nullish(),
    strict: z.boolean().nullish(),
  }),
});

const named = z.object({ type: z.literal("function"), function: z.object({ name }) });
/** The Responses API's form of the same. */
const flatlyNamed = z.object({ type: z.literal("function"), name });
const allowed = z.object({
  type: z.literal("allowed_tools"),
  allowed_tools: z.object({
    mode: z.enum(["auto", "required"]),
    tools: z.array(z.looseObject({ type: z.string() })).max(MAX_TOOLS),
  }),
});

export const toolFields = {
  tools: z
    .array(z.looseObject({ type: z.string() }))
    .max(MAX_TOOLS)
    .nullish(),
  tool_choice: z
    .union([z.enum(["none", "auto", "required"]), named, flatlyNamed, allowed], {
      error: "must be 'none', 'auto', 'required', one function by its name, or a list of allowed tools",
    })
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
};

type Sent = z.output<z.ZodObject<typeof toolFields>>;

/** The functions and the choice among them; `ignored` names the types that were left out. */
export function toolsOf(sent: Sent): (Tools & { readonly ignored: readonly string[] }) | ApiError {
  const tools: FunctionTool[] = [];
  const ignored = new Set<string>();
  for (const [index, tool] of (sent.tools ?? []).entries()) {
    if (tool.type !== "function") {
      ignored.add(`tools.${tool.type}`);
      continue;
    }
    const parsed = functionTool.safeParse(tool);
    if (!parsed.success) return wrong(`tools.${index}`, parsed.error.issues[0]!);
    tools.push(functionOf(parsed.data.function));
  }
  const choice = choiceOf(sent.tool_choice, tools);
  if ("status" in choice) return choice;
  const problem = problemOf(choice.tools, choice.toolChoice);
  if (problem) return problem;
  return { ...choice, parallelToolCalls: sent.parallel_tool_calls ?? true, ignored: [...ignored] };
}

/** Only these fields, and null as absent. */
function functionOf({
  name,
  description,
  parameters,
  strict,
}: z.output<typeof functionTool>["function"]): FunctionTool {
  return {
    type: "function",
    function: {
      name,
      ...(description != null && { description }),
      ...(parameters != null && { parameters }),
      ...(strict != null && { strict }),
    },
  };
}

function choiceOf(
  sent: Sent["tool_choice"],
  tools: readonly FunctionTool[],
): Pick<Tools, "tools" | "toolChoice"> | ApiError {
  const has = (name: unknown) => tools.some((tool) => tool.function.name === name);
  if (typeof sent === "object" && sent !== null && "allowed_tools" in sent) {
    const { mode, tools: listed } = sent.allowed_tools;
    const names = new Set(listed.map((tool) => (tool.function as { name?: unknown } | undefined)?.name));
    return choiceOf(
      mode,
      tools.filter((tool) => names.has(tool.function.name)),
    );
  }
  if (typeof sent === "object" && sent !== null) {
    const name = "function" in sent ? sent.function.name : sent.name;
    if (has(name)) return { tools, toolChoice: { name } };
    return invalid("'tool_choice' names a function that is not among the tools.", "tool_choice");
  }
  if (sent === "required" && tools.length === 0)
    return invalid("'tool_choice' is 'required', but there is no function to call.", "tool_choice");
  return { tools, toolChoice: sent ?? "auto" };
}

/** A function that must be called, or strictly, has its schema compiled into a grammar. */
function problemOf(tools: readonly FunctionTool[], choice: ToolChoice): ApiError | undefined {
  const size = sizeOf(tools, MAX_SIZE);
  if (typeof size === "string") return invalid(`'tools' ${size}.`, "tools");
  const mustCall = choice !== "auto" && choice !== "none";
  for (const [index, { function: told }] of tools.entries()) {
    const problem = (mustCall || told.strict) && told.parameters && compileProblem(told.parameters);
    const param = `tools.${index}.function.parameters`;
    if (problem) return invalid(`'${param}' ${problem}.`, param);
  }
  return undefined;
}

function wrong(at: string, issue: z.core.$ZodIssue): ApiError {
  const path = [at, ...issue.path].join(".");
  return invalid(`'${path}': ${issue.message}`, path);
}
