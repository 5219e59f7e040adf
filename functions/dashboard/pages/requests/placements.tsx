/** Why it was placed there: each candidate's score, term by term, attempt by attempt. */
import { useState } from "preact/hooks";
import { Scroll } from "../../parts.tsx";
import type { Names } from "../names.ts";

export interface Placement {
  readonly attempt: number;
  readonly candidates: readonly Candidate[];
}

interface Candidate {
  readonly backend: string;
  readonly region: string;
  /** Seconds that each is expected to cost. */
  readonly terms: Readonly<Record<string, number>>;
  readonly cost: number | null;
  readonly chosen: boolean;
  readonly excluded_because: string | null;
}

const COLOURS = ["--s1", "--s3", "--s4", "--s2", "--s5", "--s6"];

export function Placements({ of, names }: { of: readonly Placement[]; names: Names }) {
  const [shown, show] = useState(of.length - 1);
  const placement = of[Math.min(shown, of.length - 1)];
  if (!placement) return <p class="note">Who else could have served is not kept for this request.</p>;
  const ranked = placement.candidates.filter(({ cost }) => cost !== null);
  const excluded = placement.candidates.filter(({ cost }) => cost === null);
  // As they come, in the router's order.
  const terms = [...new Set(ranked.flatMap((one) => Object.keys(one.terms)))];
  const most = Math.max(Number.MIN_VALUE, ...ranked.map(({ cost }) => cost ?? 0));
  return (
    <>
      <div class="with-choice">
        <p class="note">Expected cost in milliseconds, lowest wins.</p>
        {of.length > 1 && (
          <fieldset class="choice">
            <legend class="hidden">Attempt</legend>
            {of.map(({ attempt }, i) => (
              <button type="button" aria-pressed={i === shown} onClick={() => show(i)}>
                Attempt {attempt}
              </button>
            ))}
          </fieldset>
        )}
      </div>
      <Scroll label={`Candidates of attempt ${placement.attempt}`}>
        <table class="candidates">
          <thead>
            <tr>
              <th scope="col">Candidate</th>
              <th scope="col" class="number">
                Score
              </th>
              {terms.map((term, i) => (
                <th scope="col" class="number">
                  <i class="swatch" ref={painted(i)} />
                  {words(term)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {ranked.map((one) => (
              <tr key={one.backend}>
                <th scope="row">
                  {names.backend(one.backend)} {one.chosen && <span class="tag chosen">chosen</span>}
                  <small>{one.region}</small>
                  <span class="score" aria-hidden="true">
                    {terms.map((term, i) => (
                      <i ref={painted(i, (one.terms[term] ?? 0) / most)} />
                    ))}
                  </span>
                </th>
                <td class="number">
                  <b>{ms(one.cost ?? 0)}</b>
                </td>
                {terms.map((term) => (
                  <td class="number">{ms(one.terms[term] ?? 0)}</td>
                ))}
              </tr>
            ))}
            {excluded.map((one) => (
              <tr key={one.backend} class="quiet">
                <th scope="row">
                  {names.backend(one.backend)}
                  <small>{one.region}</small>
                </th>
                <td colSpan={terms.length + 1}>
                  excluded: {(one.excluded_because ?? "not said").replaceAll("_", " ")}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </>
  );
}

const painted =
  (index: number, share?: number) =>
  (element: HTMLElement | null): void => {
    if (!element) return;
    element.style.background = `var(${COLOURS[index % COLOURS.length]})`;
    if (share !== undefined) element.style.width = `${Math.min(1, Math.max(0, share)) * 100}%`;
  };

function ms(seconds: number): string {
  const value = seconds * 1_000;
  const text = Math.abs(value) >= 10 || value === 0 ? value.toFixed(0) : value.toFixed(1);
  return text.replace(/\B(?=(\d{3})+$)/g, ",");
}

const words = (term: string): string => {
  const text = term
    .replaceAll(/([A-Z])/g, " $1")
    .replaceAll("_", " ")
    .toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
};
