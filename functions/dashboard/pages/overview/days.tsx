/** Any range of whole days of the zone; what a chart was dragged over is named here too. */
import { useRef } from "preact/hooks";
import { daysChosen, isoDay, rangeName, type View } from "../../state.ts";
import type { Change } from "./usage.ts";

export function Days({ view, change }: { view: View; change: Change }) {
  const { chosen, zone } = view;
  const box = useRef<HTMLDetailsElement>(null);
  const today = isoDay(new Date().toISOString(), zone);
  // The last moment of the range is no more in it.
  const last = chosen ? isoDay(new Date(Date.parse(chosen.to) - 1).toISOString(), zone) : today;
  const shut = () => box.current?.removeAttribute("open");
  const apply = (event: SubmitEvent) => {
    event.preventDefault();
    const given = new FormData(event.currentTarget as HTMLFormElement);
    const days = daysChosen(String(given.get("first")), String(given.get("last")), zone);
    const field = (event.currentTarget as HTMLFormElement).elements.namedItem("last") as HTMLInputElement;
    if (!days) {
      field.setCustomValidity("The last day is not before the first, and at most a year after it.");
      return field.reportValidity();
    }
    change({ ...days, range: null }, "push");
    shut();
  };
  const key = (event: KeyboardEvent) => {
    if (event.key !== "Escape") return;
    shut();
    box.current?.querySelector("summary")?.focus();
  };
  return (
    <details class="days" ref={box} onKeyDown={key}>
      <summary class={chosen ? "on" : ""}>{chosen ? rangeName(view) : "Days"}</summary>
      <form onSubmit={apply}>
        <label>
          First day
          <input
            type="date"
            name="first"
            required
            max={today}
            value={chosen ? isoDay(chosen.from, zone) : today}
          />
        </label>
        <label>
          Last day
          <input
            type="date"
            name="last"
            required
            value={last}
            onInput={({ currentTarget }) => currentTarget.setCustomValidity("")}
          />
        </label>
        <button type="submit" class="primary">
          Show
        </button>
      </form>
    </details>
  );
}
