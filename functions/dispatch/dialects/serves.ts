/** Which backends of a model can serve what a request needs; the others are no candidates for it. */
import { type ApiError, notServed } from "../../errors.ts";
import type { Backend } from "../../fleet/snapshot.ts";
import type { ChatRequest, OptionalField } from "../../surfaces/openai/schema.ts";
import { dialects } from "./by-kind.ts";

type Kind = Pick<Backend, "id" | "kind">;

/** The ids of those that cannot. */
export function unfit(backends: readonly Kind[], { needs }: Pick<ChatRequest, "needs">): string[] {
  if (needs.length === 0) return [];
  return backends
    .filter(({ kind }) => needs.some((field) => !dialects[kind].serves.includes(field)))
    .map(({ id }) => id);
}

/** A refusal that names what is needed, where there are backends and none of them can. */
export function nobodyServes(
  backends: readonly Kind[],
  request: Pick<ChatRequest, "needs">,
): ApiError | undefined {
  const { needs } = request;
  if (needs.length === 0 || backends.length === 0 || unfit(backends, request).length < backends.length)
    return undefined;
  const served = fieldsOf(backends);
  const field = needs.find((need) => !served.includes(need));
  // Each is served by one of them, and by none together.
  return field ? notServed(field, HINTS[field]) : notServed(needs[0]!, `Not together with '${needs[1]}'.`);
}

/** The fields that some backend of a model serves, beside those that all do. */
export function fieldsOf(backends: readonly Kind[]): OptionalField[] {
  return [...new Set(backends.flatMap(({ kind }) => dialects[kind].serves))];
}

const HINTS: Readonly<Record<OptionalField, string>> = {
  top_k: "No backend of this model knows it. Leave it out.",
  min_p: "No backend of this model knows it. Leave it out.",
  repetition_penalty: "No backend of this model knows it. Leave it out, or send 1.",
  response_format: "No backend of this model knows it. Ask for JSON in the prompt.",
};
