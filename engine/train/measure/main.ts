/**
 * Measures a model greedily through a running engine, on held-out cases, and prints what it reached beside what it
 * should reach. It is a measurement: it exits with 0 whatever comes out.
 *
 *   npm run eval:model -- [--model DIR] [--threads N] [--limit CASES] [--only TEXT] [--show FAILURES]
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { type Case, readCases } from "./cases.ts";
import { isRight, isValidCall, type Said } from "./check.ts";
import { validationLoss } from "./loss.ts";

const SECRET = "the-secret-of-a-measured-engine";
const AT_ONCE = 8;
const ANSWER_TOKENS = 160;

/** What the shipped model is meant to reach; what has none is printed only. */
const DEMANDS: Readonly<Record<string, number>> = {
  "look-up among 8 to 12 facts at 1,000 tokens": 0.95,
  "look-up among 8 to 12 facts near the context's end": 0.95,
  "tool calls, generated": 0.95,
  "questions about Causeway": 0.9,
  declining: 0.9,
};

const { values: options } = parseArgs({
  options: {
    model: { type: "string", default: join(import.meta.dirname, "..", "..", "model") },
    threads: { type: "string", default: "1" },
    limit: { type: "string" },
    only: { type: "string", default: "" },
    show: { type: "string", default: "0" },
  },
});

interface Engine {
  readonly child: ChildProcess;
  readonly url: string;
  readonly model: string;
}

async function startEngine(): Promise<Engine> {
  const main = join(import.meta.dirname, "..", "..", "server", "main.ts");
  const argv = [main, "--model", options.model, "--port", "0", "--threads", options.threads];
  const child = spawn(process.execPath, [...argv, "--max-sequences", `${AT_ONCE}`], {
    env: { ...process.env, CAUSEWAY_ENGINE_SECRET: SECRET },
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  const [line] = await Promise.race([
    once(createInterface({ input: child.stdout! }), "line"),
    once(child, "exit"),
  ]);
  if (typeof line !== "string") throw new Error("the engine did not start");
  const { port, model } = JSON.parse(line);
  return { child, url: `http://127.0.0.1:${port}`, model };
}

/** The assistant's turn, or why there is none. */
async function ask({ url, model }: Engine, { messages, tools }: Case): Promise<Said> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${SECRET}`, "content-type": "application/json" },
    body: JSON.stringify({ model, messages, tools, temperature: 0, max_tokens: ANSWER_TOKENS }),
  });
  const body = (await response.json()) as { choices: { message: Said }[]; error: { message: string } };
  return response.ok ? body.choices[0].message : { content: `(${response.status}: ${body.error.message})` };
}

interface Score {
  cases: number;
  right: number;
  /** Of the cases with tools: turns whose calls could all be executed. */
  valid: number;
  withTools: number;
}

async function measure(cases: readonly Case[]): Promise<Map<string, Score>> {
  const engine = await startEngine();
  const scores = new Map<string, Score>();
  let shown = 0;
  const waiting = [...cases];
  const worker = async () => {
    for (let one = waiting.shift(); one; one = waiting.shift()) {
      const said = await ask(engine, one);
      const score = scores.get(one.measure) ?? { cases: 0, right: 0, valid: 0, withTools: 0 };
      scores.set(one.measure, score);
      const right = isRight(one.check, said);
      score.cases++;
      if (right) score.right++;
      if (one.tools) {
        score.withTools++;
        if (isValidCall(said, one.tools)) score.valid++;
      }
      if (!right && shown++ < Number(options.show)) {
        console.log(`${one.measure}: ${one.messages.at(-1)?.content?.slice(-120)}`);
        console.log(
          `  wanted ${one.target}\n  said   ${said.content ?? ""}${JSON.stringify(said.tool_calls ?? "")}`,
        );
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  } finally {
    const ended = once(engine.child, "exit");
    engine.child.kill("SIGTERM");
    await ended;
  }
  return scores;
}

/** Cases of each measure, at most `limit`. */
function chosen(): Case[] {
  const limit = options.limit === undefined ? Infinity : Number(options.limit);
  const counts = new Map<string, number>();
  return readCases(process.env.CAUSEWAY_TRAIN_SOURCES).filter(({ measure: name }) => {
    const count = (counts.get(name) ?? 0) + 1;
    counts.set(name, count);
    return count <= limit && name.includes(options.only);
  });
}

const percent = (part: number, whole: number) => `${((100 * part) / whole).toFixed(1)} %`;

function print(cases: readonly Case[], scores: Map<string, Score>, losses: Map<string, number>): void {
  const rows = [["measure", "cases", "right", "demanded", "valid calls", "loss a token"]];
  for (const name of new Set(cases.map((one) => one.measure))) {
    const { cases: number, right, valid, withTools } = scores.get(name)!;
    const demand = DEMANDS[name];
    const demanded = demand ? `${100 * demand} %${right / number >= demand ? "" : ", not reached"}` : "";
    const validity = withTools > 0 ? percent(valid, withTools) : "";
    rows.push([
      name,
      `${number}`,
      percent(right, number),
      demanded,
      validity,
      losses.get(name)?.toFixed(3) ?? "",
    ]);
  }
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row: string[]) => `| ${row.map((cell, column) => cell.padEnd(widths[column])).join(" | ")} |`;
  console.log(line(rows[0]));
  console.log(line(widths.map((width) => "-".repeat(width))));
  for (const row of rows.slice(1)) console.log(line(row));
}

const cases = chosen();
const scores = await measure(cases);
const losses = await validationLoss(options.model, cases);
print(cases, scores, losses);
if (!cases.some((one) => one.measure.startsWith("people's")))
  console.log(
    "People's dialogues were not measured: CAUSEWAY_TRAIN_SOURCES does not name the converted sources.",
  );
