/** A backend as the router sees it: what D1 says of it, and how loaded it is. */
import type { BackendPrice, BackendView } from "../../router/types.ts";
import type { Backend } from "./snapshot.ts";

/** Counts of the pool, what it measured, and the server's own gauges where it has them. */
export interface Load {
  readonly placed: number;
  readonly pendingPrefillTokens: number;
  readonly running?: number;
  readonly waiting?: number;
  readonly cacheUsage?: number;
  /** Of the prompt tokens that it looked up in its cache lately, the share that was there; 0 to 1. */
  readonly prefixHitShare?: number;
  /** Measured (router/measured.ts); they go before what an operator says. */
  readonly prefillTokensPerSecond?: number;
  readonly decodeTokensPerSecond?: number;
  /** Its own list of models lacks `served_as`. */
  readonly lacksModel?: boolean;
}

/** `contextLength` is the model's: what a backend has that names none of its own. */
export function backendView(
  backend: Backend,
  contextLength: number | undefined,
  distanceMs: number | undefined,
  load: Load | undefined,
): BackendView {
  const { id, name, region, model, state, chip, plays } = backend;
  const { prefixHitShare: _, ...counted } = load ?? {};
  return {
    id,
    name,
    region,
    model,
    state,
    chip,
    plays,
    ...known("contextLength", backend.contextLength ?? contextLength),
    ...known("tools", backend.tools),
    ...known("maxConcurrent", backend.maxConcurrent),
    ...known("maxWaiting", backend.maxWaiting),
    ...known("prefillTokensPerSecond", backend.prefillTokensPerSecond),
    ...known("decodeTokensPerSecond", backend.decodeTokensPerSecond),
    ...(backend.costInput !== null && { price: priceOf(backend) }),
    ...known("distanceMs", distanceMs),
    ...counted,
  };
}

/** The field, or none: what is absent was not said. */
function known<Name extends keyof BackendView>(
  name: Name,
  value: BackendView[Name] | null,
): Pick<BackendView, Name> | undefined {
  return value == null ? undefined : ({ [name]: value } as unknown as Pick<BackendView, Name>);
}

/** In USD, where the router weighs seconds against money: no bill is made from it. */
function priceOf({ costInput, costCachedInput, costOutput }: Backend): BackendPrice {
  const usd = (nanodollars: number | null) => (nanodollars ?? 0) / 1e9;
  return { input: usd(costInput), cachedInput: usd(costCachedInput), output: usd(costOutput) };
}
