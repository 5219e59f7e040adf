/** What a client is told whose request no backend may take: what it can change itself is a 400 that says so. */
import type { Reason } from "../../router/filter.ts";
import type { Preferences } from "../../router/types.ts";
import { type ApiError, contextExceeded, invalid, noBackend, overloaded } from "../errors.ts";
import type { Ask } from "./route.ts";
import { backendsOf, type Snapshot } from "./snapshot.ts";

export type Nowhere =
  | { readonly kind: "shed"; readonly retryAfterSeconds: number }
  /** `reason`: the furthest that any backend came (router/filter.ts); undefined: those that might were tried. */
  | { readonly kind: "impossible"; readonly reason: Reason | undefined };

export function errorOf(view: Snapshot, ask: Ask, nowhere: Nowhere): ApiError {
  if (nowhere.kind === "shed")
    return overloaded("All backends of this model are busy.", nowhere.retryAfterSeconds);
  switch (nowhere.reason) {
    case "preference":
      return notPreferred(view, ask);
    case "context":
      return contextExceeded(longestContext(view, ask), "The messages and max_tokens together are longer.");
    case "tools":
      return invalid(
        `No backend of '${ask.model}' can call tools. Leave them out.`,
        "tools",
        "unsupported_parameter",
      );
    default:
      return noBackend(ask.model);
  }
}

/** The first name that is nobody's; where all are known, that nothing of the model fits them all. */
function notPreferred(view: Snapshot, ask: Ask): ApiError {
  const { preferences } = ask.request;
  for (const [field, names] of namesIn(preferences)) {
    // `order` names come first; only without fallbacks must one of them be there.
    const unknown = names.filter((name) => !isKnown(view, ask.model, name));
    if (unknown.length < names.length) continue;
    const said = unknown.map((name) => `'${name}'`).join(", ");
    return invalid(
      `'provider.${field}' names ${said}: no backend of '${ask.model}' and no region has such a name.`,
      `provider.${field}`,
    );
  }
  return invalid(`'provider' leaves no backend of '${ask.model}' over. Ask for less.`, "provider");
}

function namesIn({ region, only, order, allow_fallbacks }: Preferences): [string, readonly string[]][] {
  return [
    ...(region === undefined ? [] : [["region", [region]] as [string, string[]]]),
    ...(only === undefined ? [] : [["only", only] as [string, readonly string[]]]),
    ...(order === undefined || allow_fallbacks !== false
      ? []
      : [["order", order] as [string, readonly string[]]]),
  ];
}

function isKnown(view: Snapshot, model: string, wanted: string): boolean {
  return (
    view.regions.has(wanted) ||
    backendsOf(view, model).some(({ id, name }) => wanted === id || wanted === name)
  );
}

function longestContext(view: Snapshot, { model }: Ask): number {
  const models = view.models.get(model)?.contextLength ?? 0;
  return Math.max(0, ...backendsOf(view, model).map(({ contextLength }) => contextLength ?? models));
}
