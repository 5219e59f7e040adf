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

/** undefined: not known yet, and what comes below it would have to move. */
export function useIll(): Regions["data"] | undefined {
  const { data, error } = useApi<Regions>("/v1/regions", 10_000);
  return data?.data.filter(({ state }) => ILL[state]) ?? (error ? [] : undefined);
}

export function Incident({ ill }: { ill: Regions["data"] }) {
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
