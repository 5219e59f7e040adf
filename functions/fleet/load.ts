/** A backend as the router sees it: what D1 says of it, and how loaded it is. */
import type { BackendPrice, BackendView } from "../../router/types.ts";
import type { Backend } from "./snapshot.ts";

/** Counts of the pool, and the server's own gauges where it has them. */
export interface Load {
  readonly placed: number;
  readonly pendingPrefillTokens: number;
  readonly running?: number;
  readonly waiting?: number;
  readonly cacheUsage?: number;
}

export function backendView(
  backend: Backend,
  distanceMs: number | undefined,
  load: Load | undefined,
): BackendView {
  const { id, name, region, model, state, chip, plays } = backend;
  return {
    id,
    name,
    region,
    model,
    state,
    chip,
    plays,
    ...(backend.costInput !== null && { price: priceOf(backend) }),
    ...(distanceMs !== undefined && { distanceMs }),
    ...load,
  };
}

/** In USD, where the router weighs seconds against money: no bill is made from it. */
function priceOf({ costInput, costCachedInput, costOutput }: Backend): BackendPrice {
  const usd = (nanodollars: number | null) => (nanodollars ?? 0) / 1e9;
  return { input: usd(costInput), cachedInput: usd(costCachedInput), output: usd(costOutput) };
}
