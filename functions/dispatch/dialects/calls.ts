/**
 * Tool calls as backends stream them, made even: indices from 0 in the order of the calls, id and name in a call's
 * first delta, its arguments a string in each. Servers leave out ids, count from elsewhere, count every call as the
 * first, or send arguments before the name. A step a delta; one state a choice.
 */
import { ulid } from "ulid";
import type { ToolDelta } from "../run.ts";

interface Call {
  readonly index: number;
  id: string | undefined;
  /** Undefined until the backend has said it: nothing of the call goes out before. */
  name: string | undefined;
  held: string;
}

export class Calls {
  readonly #byIndex = new Map<number, Call>();
  readonly #byId = new Map<string, Call>();
  #last: Call | undefined;
  #count = 0;
  #nameless = 0;

  /** How many calls there are. */
  get count(): number {
    return this.#count;
  }

  /** Whether each call has its name. */
  get areNamed(): boolean {
    return this.#nameless === 0;
  }

  /** One entry of a delta's `tool_calls`. Undefined: it says nothing yet, or nothing new. */
  take(said: Record<string, unknown>): ToolDelta | undefined {
    const { name: sentName, arguments: sentArguments } = isObject(said.function) ? said.function : {};
    const id = textOf(said.id);
    const name = textOf(sentName);
    const piece = argumentsOf(sentArguments);
    const call = this.#callOf(said.index, id, name);
    if (call.name !== undefined) return piece === "" ? undefined : { index: call.index, arguments: piece };
    call.id ??= id;
    call.held += piece;
    if (name === undefined) return undefined;
    call.name = name;
    this.#nameless -= 1;
    const first = { index: call.index, id: call.id ?? `call_${ulid()}`, name, arguments: call.held };
    call.held = "";
    return first;
  }

  #callOf(index: unknown, id: string | undefined, name: string | undefined): Call {
    const at = Number.isSafeInteger(index) ? (index as number) : undefined;
    const known = this.#known(at, id, name);
    // Another id with another name under a known index: that server counts each call as the first.
    const isAnother = known?.name !== undefined && name !== undefined && id !== undefined && known.id !== id;
    const call = known && !isAnother ? known : this.#begin(id);
    if (at !== undefined) this.#byIndex.set(at, call);
    if (id !== undefined) this.#byId.set(id, call);
    this.#last = call;
    return call;
  }

  #known(at: number | undefined, id: string | undefined, name: string | undefined): Call | undefined {
    if (at !== undefined) return this.#byIndex.get(at);
    if (id !== undefined) return this.#byId.get(id);
    return name === undefined ? this.#last : undefined;
  }

  #begin(id: string | undefined): Call {
    this.#nameless += 1;
    return { index: this.#count++, id, name: undefined, held: "" };
  }
}

/** Most send a string in pieces; some send the object whole. */
function argumentsOf(sent: unknown): string {
  if (typeof sent === "string") return sent;
  return isObject(sent) ? JSON.stringify(sent) : "";
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
