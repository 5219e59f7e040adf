/** The reading path: events to chunks, for backends that cannot be relayed, and to messages for whole answers. */
import { outputOfEach, utf8Length } from "../admission/bound.ts";
import { Patience, SECOND_MS } from "../clock.ts";
import { NO_USAGE, type Usage } from "../money.ts";
import { deltaChunks, type Message, roleChunk } from "../surfaces/openai/encode.ts";
import { promptText } from "../surfaces/openai/messages.ts";
import { countByBytes, learnRatio } from "../usage/count.ts";
import { plausible } from "../usage/plausible.ts";
import { stopped } from "./ending.ts";
import { askReport, tellStop } from "./report.ts";
import type { Delta, End, EngineEvent, FinishReason, Opened, Run } from "./run.ts";
import type { Wire } from "./wire.ts";

const KEEP_ALIVE = ": the backend is at work\n\n";
const KEEP_ALIVE_MS = 1 * SECOND_MS;
const CHECKPOINT_MS = 10 * SECOND_MS;
const ASK_MS = 2 * SECOND_MS;

export type Collected = End & { readonly messages: readonly Message[] };

type Events = Extract<Opened, { kind: "events" }>;

/** Streams events to the client. */
export async function forward(run: Run, wire: Wire, opened: Events): Promise<End> {
  const tally = new Tally(run, opened);
  const chunkOf = deltaChunks(run.answer);
  let present = await wire.write(choicesOf(run, (choice) => roleChunk(run.answer, choice)).join(""));
  const end = await drain(opened, async (events) => {
    let text = events ? "" : KEEP_ALIVE;
    for (const event of events ?? []) {
      tally.take(event);
      if (event.type === "delta") text += chunkOf(event);
    }
    if (text !== "") present = await wire.put(text);
    tally.checkpoint();
    return present;
  });
  present = await wire.taken();
  if (end === "finished" && present && tally.isComplete) return tally.finished();
  if (!present) run.stop.abort("client_left");
  return stopped(run, await tally.count());
}

/** Collects a whole answer. One that failed delivered nothing, and costs nothing. */
export async function collect(run: Run, opened: Events): Promise<Collected> {
  const tally = new Tally(run, opened);
  const messages = choicesOf(run, () => new Collecting());
  const end = await drain(opened, async (events = []) => {
    for (const event of events) {
      tally.take(event);
      if (event.type === "delta") messages[event.choice]?.take(event);
    }
    tally.checkpoint();
    return true;
  });
  if (end === "finished" && tally.isComplete)
    return { ...(await tally.finished()), messages: messages.map((message) => message.done()) };
  const count = await tally.count(); // Ends the attempt at the backend.
  // A failure delivered nothing and costs nothing; who leaves pays for what was generated.
  const usage = run.stop.signal.reason === "client_left" ? count : NO_USAGE;
  return { ...stopped(run, usage), messages: [] };
}

function choicesOf<T>(run: Run, make: (choice: number) => T): T[] {
  return Array.from({ length: run.request.n }, (_, choice) => make(choice));
}

/** One choice's deltas, put together again. */
class Collecting {
  #text = "";
  #reasoning = "";
  readonly #calls: { id: string; name: string; arguments: string }[] = [];

  take({ text = "", reasoning = "", tool }: Delta): void {
    this.#text += text;
    this.#reasoning += reasoning;
    if (!tool) return;
    const call = this.#calls[tool.index];
    if (call) call.arguments += tool.arguments;
    else this.#calls[tool.index] = { id: tool.id ?? "", name: tool.name ?? "", arguments: tool.arguments };
  }

  done(): Message {
    return { text: this.#text, reasoning: this.#reasoning, calls: this.#calls };
  }
}

/** Hands what came together to `take`, and undefined for each second without, until the end or until it says stop. */
async function drain(
  { first, rest }: Events,
  take: (events: readonly EngineEvent[] | undefined) => Promise<boolean>,
): Promise<"finished" | "failed" | "stopped"> {
  const patience = new Patience();
  try {
    let pending = rest.next();
    let events: readonly EngineEvent[] | undefined = first;
    for (;;) {
      if (!(await take(events))) return "stopped";
      if (events?.at(-1)?.type === "error") return "failed";
      const next = await patience.within(KEEP_ALIVE_MS, pending);
      if (next?.done) return "finished";
      if (next) pending = rest.next();
      events = next?.value;
    }
  } finally {
    patience.end();
  }
}

/** What is known of one choice. */
interface Counted {
  reason: FinishReason | undefined;
  /** Its own running count, where the backend gives one. */
  running: Usage | undefined;
  /** Deltas that no count covers: one that stopped coming, or became absurd, is not the last word. */
  uncovered: number;
}

/** Counts one answer: what the backend says where that is plausible, else the edge's own count. */
class Tally {
  readonly #run: Run;
  readonly #opened: Events;
  readonly #promptBytes: number;
  readonly #choices: Counted[];
  #outputBytes = 0;
  /** The backend's last plausible count of all choices together. */
  #claimed: Usage | undefined;
  #checkpointAt = Date.now() + CHECKPOINT_MS;

  constructor(run: Run, opened: Events) {
    this.#run = run;
    this.#opened = opened;
    this.#promptBytes = utf8Length(promptText(run.request));
    this.#choices = choicesOf(run, () => ({ reason: undefined, running: undefined, uncovered: 0 }));
  }

  take(event: EngineEvent): void {
    if (event.type === "delta") {
      const { text = "", reasoning = "", tool } = event;
      this.#outputBytes += utf8Length(text) + utf8Length(reasoning);
      if (tool) this.#outputBytes += utf8Length(tool.name ?? "") + utf8Length(tool.arguments);
      this.#choices[event.choice]!.uncovered += 1;
    } else if (event.type === "finish") this.#choices[event.choice]!.reason ??= event.reason;
    else if (event.type === "usage") {
      // Running counts and repetitions: the last plausible one counts, once.
      const { bound, request } = this.#run;
      const maxOutput = event.choice === undefined ? bound.maxOutput : outputOfEach(bound, request);
      const claimed = plausible(event.claimed, { ...bound, maxOutput });
      if (claimed) this.#count(claimed, event.choice, event.covers);
    }
  }

  /** A count of one choice is a part of the answer's; the prompt is in each, and is one. */
  #count(claimed: Usage, choice: number | undefined, covers: number): void {
    if (choice === undefined) {
      this.#claimed = claimed;
      for (const each of this.#choices) each.uncovered = -covers;
      return;
    }
    const counted = this.#choices[choice];
    if (!counted) return;
    counted.running = claimed;
    counted.uncovered = -covers;
    const sum = (of: "output" | "reasoning") =>
      this.#choices.reduce((all, { running }) => all + (running?.[of] ?? 0), 0);
    this.#claimed = { ...claimed, output: sum("output"), reasoning: sum("reasoning") };
  }

  /** Whether every choice has its finish. */
  get isComplete(): boolean {
    return this.#choices.every(({ reason }) => reason !== undefined);
  }

  async finished(): Promise<End> {
    const usage = this.#backends() ?? (await this.#ask("now")) ?? this.#own();
    if (usage.source === "backend") {
      learnRatio(this.#opened.backend.id, usage, this.#promptBytes, this.#outputBytes);
    }
    return { ending: "finished", usage, finishReasons: this.#choices.flatMap(({ reason }) => reason ?? []) };
  }

  /** The count of an answer that did not finish; tells the backend to stop. */
  async count(): Promise<Usage> {
    const { backend, attempt, close } = this.#opened;
    close();
    this.#run.waitUntil(tellStop(backend, attempt, AbortSignal.timeout(ASK_MS)));
    return (await this.#ask("abort")) ?? this.#backends() ?? this.#own();
  }

  /** What an expiry would go by, if this isolate died: only where the backend cannot be asked. */
  checkpoint(): void {
    const { backend, attempt } = this.#opened;
    if (backend.keepsAttempts || Date.now() < this.#checkpointAt) return;
    this.#checkpointAt = Date.now() + CHECKPOINT_MS;
    const { requestId, holder, waitUntil } = this.#run;
    const usage = this.#backends() ?? this.#own();
    waitUntil(
      holder
        .checkpoint({ requestId, attempt, backend: backend.id, region: backend.region, usage })
        .catch((error: unknown) => {
          console.error(`${requestId}: a checkpoint was not taken: ${error}`);
        }),
    );
  }

  async #ask(how: "now" | "abort"): Promise<Usage | undefined> {
    const { backend, attempt } = this.#opened;
    if (!backend.keepsAttempts) return undefined;
    return (await askReport(backend, attempt, this.#run.bound, AbortSignal.timeout(ASK_MS), how))?.usage;
  }

  /** The backend's last plausible count, where it covers all that came. */
  #backends(): Usage | undefined {
    return this.#choices.every(({ uncovered }) => uncovered <= 0) ? this.#claimed : undefined;
  }

  /** By bytes; the prompt as the backend counted it, where it did before its counts stopped or became absurd. */
  #own(): Usage {
    const { backend } = this.#opened;
    const own = countByBytes(backend.id, this.#promptBytes, this.#outputBytes, this.#run.bound);
    const claimed = this.#claimed;
    if (!claimed) return own;
    return { ...claimed, output: Math.max(claimed.output, own.output), source: own.source };
  }
}
