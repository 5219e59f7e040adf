/** The router's view of the fleet: this isolate's snapshot, and what its own attempts taught it. */
import { observe } from "../../router/health.ts";
import type { FleetView, Health, Outcome } from "../../router/types.ts";
import type { Snapshot } from "./snapshot.ts";

let health: Readonly<Record<string, Health>> = {};
let version = 0;

export function fleetView(view: Snapshot): FleetView {
  const backends = [...view.backends.values()].map((backend) => {
    const distanceMs = view.regions.get(backend.region)?.simulatedDistanceMs;
    const { id, region, model, state } = backend;
    return { id, region, model, state, ...(distanceMs != null && { distanceMs }) };
  });
  return { version, backends, health };
}

/** Remembers how an attempt went. */
export function learn(outcome: Outcome, nowMs: number): void {
  const after = observe({ version, backends: [], health }, outcome, nowMs);
  ({ version, health } = after);
}
