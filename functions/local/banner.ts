/** What a start shows: a line a step, and in the end what runs where and how to try it. */
import { styleText } from "node:util";
import type { Run } from "./files.ts";
import { about, engines, model } from "./fleet.ts";

// styleText leaves the colours out where stdout is no terminal or NO_COLOR is set.
const strong = (text: string) => styleText("bold", text, { stream: process.stdout });
const quiet = (text: string) => styleText("dim", text, { stream: process.stdout });
const red = (text: string) => styleText("red", text, { stream: process.stdout });

const width = 12;

/** A step of the start, or what a part of the whole writes while it runs. */
export function line(name: string, text: string): void {
  console.log(`  ${quiet(name.padEnd(width))}${text}`);
}

export function refuse(line: string): void {
  console.error(red(line));
}

export function banner(run: Readonly<Run>, seconds: number): void {
  const rows = [
    ["API", `${run.url}/v1`],
    ["dashboard", `${run.dashboard}  ${quiet("signs in with the key below")}`],
    // In the order of the fleet, not in that of becoming ready.
    ...engines.flatMap(({ id, region, plays }) => {
      const url = run.backends.find((backend) => backend.id === id)?.url;
      const note = `simulated region: plays ${plays.toUpperCase()} on this machine's CPU`;
      return url === undefined ? [] : [[region, `${url}  ${quiet(note)}`]];
    }),
    ["model", model.id],
    ["key", run.demoKey],
  ];
  console.log(`
${strong("Causeway is ready")} ${quiet(`after ${seconds.toFixed(1)} s`)}

${rows.map(([name, value]) => `  ${name!.padEnd(width)}${value}`).join("\n")}

Try it:

${curl(run)}

${about.join("\n")}

Stop with Ctrl-C. State is kept: the next start has the same key, balance and usage.
`);
}

function curl(run: Readonly<Run>): string {
  const body = JSON.stringify({
    model: model.id,
    stream: true,
    // The likeliest words: so small a model strays when it is left to chance.
    temperature: 0,
    messages: [{ role: "user", content: "What is Causeway?" }],
  });
  return `curl -N ${run.url}/v1/chat/completions \\
  -H 'Authorization: Bearer ${run.demoKey}' \\
  -H 'Content-Type: application/json' \\
  -d '${body}'`;
}
