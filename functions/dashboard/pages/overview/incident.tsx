/** What is ill now, in one line. */
import { Icon } from "../../icon.tsx";
import { useApi } from "../../query.ts";

interface Regions {
  readonly data: readonly { readonly id: string; readonly state: string }[];
}
const ILL: Readonly<Record<string, string>> = {
  degraded: "is degraded",
  draining: "is draining",
  down: "is down",
};

export function Incident() {
  const { data } = useApi<Regions>("/v1/regions", 10_000);
  const ill = data?.data.filter(({ state }) => ILL[state]) ?? [];
  if (ill.length === 0) return null;
  const isDown = ill.some(({ state }) => state === "down");
  return (
    <p class={`notice incident ${isDown ? "bad" : "warn"}`} role="status">
      <Icon name="warn" />
      <span>{ill.map(({ id, state }) => `${id} ${ILL[state]}`).join(", ")}.</span>{" "}
      <a href="/dashboard/regions">Regions</a>
    </p>
  );
}
