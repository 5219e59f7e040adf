/**
 * Admission at the place where the request is believed to go. The account's object alone knows where the account
 * may be served: where the place was outside of that, the request is routed again, within, and asks again.
 */

import type { PresentedKey } from "../auth/key.ts";
import type { Env } from "../env.ts";
import { Refusal } from "../errors.ts";
import { errorOf } from "../fleet/nowhere.ts";
import { refreshViews } from "../fleet/pools.ts";
import { remember, remembered } from "../fleet/residency.ts";
import { type Ask, predict } from "../fleet/route.ts";
import type { Backend, Snapshot } from "../fleet/snapshot.ts";
import type { Admission, AdmitQuery, Holder } from "./holder.ts";
import { admit } from "./lease.ts";

/** What the place adds to it. */
export type Placeless = Omit<AdmitQuery, "backend" | "region" | "jurisdiction">;

export async function admitWithin(
  env: Env,
  holder: Holder,
  presented: PresentedKey,
  view: Snapshot,
  ask: Ask,
  query: Placeless,
): Promise<{ admitted: Admission; predicted: Backend }> {
  const now = Date.now();
  const admitAt = ({ id, region }: Backend) => {
    const jurisdiction = view.regions.get(region)?.jurisdiction ?? null;
    return admit(holder, { ...query, backend: id, region, jurisdiction });
  };
  let prediction = predict(view, ask, remembered(presented.hash), now);
  if (prediction.kind !== "placed") {
    // What this isolate believes is no ground for a refusal: the pools' counts as they are now, and the residency
    // that the account's object will name.
    remember(presented.hash, undefined);
    await refreshViews(env, view, ask.model, 0);
    prediction = predict(view, ask, undefined, Date.now());
  }
  if (prediction.kind !== "placed") throw new Refusal(errorOf(view, ask, prediction)); // Nothing is reserved.
  let predicted = prediction.backend;
  let admitted = await admitAt(predicted);
  if (!admitted.ok && admitted.residency) {
    remember(presented.hash, admitted.residency);
    const within = predict(view, ask, admitted.residency, now);
    if (within.kind !== "placed") return { admitted, predicted };
    predicted = within.backend;
    admitted = await admitAt(predicted);
  }
  if (admitted.ok) remember(presented.hash, admitted.residency);
  return { admitted, predicted };
}
