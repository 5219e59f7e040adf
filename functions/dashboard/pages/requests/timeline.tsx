/** When each step of a request was. */
import { duration } from "../../format.ts";
import { Icon } from "../../icon.tsx";
import type { Names } from "../names.ts";
import { type Span, scaleOf } from "./scale.ts";

const STEPS: Readonly<Record<string, string>> = {
  admit: "Admit",
  route: "Route",
  attempt: "Attempt",
  first_token: "First token",
  decode: "Decode",
  settle: "Settle",
};
const COLOURS: Readonly<Record<string, string>> = { attempt: "--s4", decode: "--s1" };

interface Props {
  readonly spans: readonly Span[];
  /** Which backend each attempt went to, by number from 1. */
  readonly backends: readonly string[];
  readonly names: Names;
  /** What is known of a step, in a few words. */
  readonly say: (span: Span) => string;
}

export function Timeline({ spans, backends, names, say }: Props) {
  if (spans.length === 0) return <p class="note">When its steps were is not kept for this request.</p>;
  const scale = scaleOf(spans);
  const left = (ms: number) => (element: HTMLElement | null) => {
    if (element) element.style.left = `${scale.at(ms) * 100}%`;
  };
  return (
    <>
      <table class="timeline">
        <thead>
          <tr>
            <th scope="col">Step</th>
            <th scope="col">
              <span class="hidden">When, of {duration(scale.ticks.at(-1)!)}</span>
              <span class="ticks" aria-hidden="true">
                {scale.ticks.map((ms) => (
                  <i ref={left(ms)}>{ms === 0 ? "0" : duration(ms)}</i>
                ))}
              </span>
            </th>
            <th scope="col" class="number">
              Took
            </th>
          </tr>
        </thead>
        <tbody>
          {spans.map((span) => (
            <Step
              {...{ span, say, scale }}
              backend={
                span.name === "attempt" ? names.backend(backends[(span.attempt ?? 0) - 1] ?? null) : null
              }
            />
          ))}
        </tbody>
      </table>
      {scale.isCompressed && <p class="note">The scale is compressed after the first token.</p>}
    </>
  );
}

interface StepProps extends Pick<Props, "say"> {
  readonly span: Span;
  readonly scale: ReturnType<typeof scaleOf>;
  readonly backend: string | null;
}

function Step({ span, scale, backend, say }: StepProps) {
  const { name, attempt, start_ms: start, end_ms: end, outcome } = span;
  const isPoint = name === "first_token";
  const isFailed = name === "attempt" && outcome !== "served" && outcome !== null;
  const place = (element: HTMLElement | null) => {
    if (!element) return;
    element.style.left = `${scale.at(start) * 100}%`;
    if (isPoint) return;
    element.style.width = `${Math.max(0.4, (scale.at(end) - scale.at(start)) * 100)}%`;
    element.style.setProperty("--colour", `var(${isFailed ? "--s5" : (COLOURS[name] ?? "--s6")})`);
  };
  return (
    <tr>
      <th scope="row">
        {STEPS[name] ?? name.replaceAll("_", " ")}
        {name === "attempt" && ` ${attempt}`}
        {backend && <small>{backend}</small>}
      </th>
      <td>
        <span class="track" aria-hidden="true">
          <i class={isPoint ? "point" : isFailed ? "broken" : ""} ref={place} />
        </span>
        <small class={isFailed ? "bad" : ""}>
          {isFailed && <Icon name="cross" />}
          {say(span)}
          <span class="hidden">, from {duration(start)}</span>
        </small>
      </td>
      <td class="number">{duration(isPoint ? start : end - start)}</td>
    </tr>
  );
}
